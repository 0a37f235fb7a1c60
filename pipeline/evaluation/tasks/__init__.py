"""Downstream tasks: which images to learn from, which to be judged on."""
