"""The stages of one run, in order: train, export, evaluate."""
