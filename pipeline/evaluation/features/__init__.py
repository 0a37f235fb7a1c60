"""Frozen features of images, and a cache of them."""
