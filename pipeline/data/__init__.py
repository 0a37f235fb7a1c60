"""From dataset folders to batches."""
