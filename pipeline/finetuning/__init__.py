"""Fine-tuning from the command line: own images and a trained model to a classifier."""
