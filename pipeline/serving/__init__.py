"""The exported model: SavedModel with its preprocessing, `.keras` file and description."""
