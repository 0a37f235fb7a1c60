"""The process of a command: start-up, children, signals, progress."""
