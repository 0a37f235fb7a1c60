"""Pictures that are computed."""
