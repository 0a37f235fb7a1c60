"""What training changes, and its checkpoints."""
