"""What is read from a finished dataset folder."""
