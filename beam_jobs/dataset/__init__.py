"""The dataset folder: its shards, their records, its metadata."""
