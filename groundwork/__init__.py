"""What `beam_jobs` and `pipeline` stand on alike: command line, storage, pages, errors."""
