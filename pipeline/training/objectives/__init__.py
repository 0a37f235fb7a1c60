"""What a run minimizes, and how right the model is."""
