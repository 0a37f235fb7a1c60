"""A corpus of images: what `--input` takes, how it is listed, planned and written."""
