"""Where a job runs, and what it shows meanwhile."""
