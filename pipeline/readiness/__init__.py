"""Checks before a run: what would fail, or would not fit, and what to do about it."""
