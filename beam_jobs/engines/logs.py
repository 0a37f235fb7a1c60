"""What reaches the terminal."""

from __future__ import annotations

import logging


def quiet_beam() -> None:
    """Keep Beam's own messages off the terminal; what fails is raised and reported once.

    To be called before Beam is imported: it warns of optional packages.
    """
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    logging.getLogger("distributed").setLevel(logging.ERROR)  # Dask's
