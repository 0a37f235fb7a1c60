"""Near-duplicates: hashes, pairs, the report."""
