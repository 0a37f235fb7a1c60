"""Order of the records, and batches of them for training and evaluation."""
