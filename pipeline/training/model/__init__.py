"""The model that a recipe describes."""
