"""What can be made again, in the user's cache: $XDG_CACHE_HOME, by default ~/.cache."""

from __future__ import annotations

import os
from pathlib import Path

from groundwork import storage


def cache_folder(name: str) -> Path:
    """Where this project keeps what is called `name`; the folder may not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vit-keras-pipeline" / name


def make_cache_folder(name: str) -> Path:
    """The same, made, and seen that it can be written to.

    Raises:
        UserError: it cannot.
    """
    folder = cache_folder(name)
    storage.make_local_folder(str(folder), "folder in XDG_CACHE_HOME")
    return folder
