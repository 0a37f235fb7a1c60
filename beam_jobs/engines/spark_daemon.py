"""What pyspark forks its workers from on this machine: Beam is imported once, before it forks."""

from __future__ import annotations

import apache_beam  # noqa: F401
from pyspark import daemon

if __name__ == "__main__":
    daemon.manager()
