"""Fine-tuning of all weights: recipes, input, training, evaluation."""
