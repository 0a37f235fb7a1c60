"""The steps of a run: logging, evaluation, checkpoints, signals."""
