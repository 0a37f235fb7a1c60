"""One optimizer step: gradient, clipping, update."""
