"""Models at URLs, copied to this host: Keras and SavedModels are read from local paths alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from groundwork import storage

_copies: dict[str, tempfile.TemporaryDirectory[str]] = {}
"""By URL; they go with the process."""


def local_copy(path: str) -> str:
    """`path` itself where it is local, else that of a copy of the file or folder at the URL.

    What is not there is not there in the copy either.

    Raises:
        UserError: no filesystem for the URL is installed.
        StorageFault: the bucket cannot be reached.
    """
    if not storage.is_remote(path):
        return path
    name = path.rstrip("/").rpartition("/")[2]
    if path not in _copies:
        copies = tempfile.TemporaryDirectory(prefix="model-")
        if storage.names(path):
            storage.copy_folder_to_local(path, str(Path(copies.name) / name))
        elif storage.exists(path):
            storage.copy_to_local(path, str(Path(copies.name) / name))
        _copies[path] = copies
    return str(Path(_copies[path].name) / name)
