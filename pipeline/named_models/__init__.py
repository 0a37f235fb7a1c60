"""Models by whatever name the user has for them: an export, a workdir, a file of weights."""
