"""Protocols: what each learns from a task, and how it is scored."""
