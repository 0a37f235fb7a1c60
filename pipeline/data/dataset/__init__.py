"""Datasets on disk: splits, records, class counts."""
