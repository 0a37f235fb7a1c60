"""Every matplotlib figure; arrays in, pixels or a file out."""
