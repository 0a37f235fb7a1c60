"""How fast training input, train step and serving are on this machine."""
