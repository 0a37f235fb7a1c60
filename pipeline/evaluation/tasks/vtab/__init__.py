"""The 19 tasks of VTAB-1k."""
