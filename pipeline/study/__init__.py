"""Compute studies: a grid of models, their transfer, and what each cost to pre-train."""
