"""What runs on the accelerator: input, training, export, transfer evaluation."""
