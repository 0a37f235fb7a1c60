"""From encoded bytes to the view that the model sees."""
