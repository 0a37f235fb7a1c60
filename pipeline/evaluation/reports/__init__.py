"""Reports of transfer evaluations, and comparisons of them."""
