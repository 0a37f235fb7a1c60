"""Apache Beam jobs: from image corpora to dataset folders in TFDS format."""
