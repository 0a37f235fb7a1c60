"""What would fail, or would not fit, before a run is started, and what to do about it."""
