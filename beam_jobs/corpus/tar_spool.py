"""Remote tar files, read in place or, in a job on this machine, by way of its temporary folder.

A tar has no index: to list it, each member's header must be read. While a job on one machine has
room, a tar is copied once, as a stream, and both listed and read there. Otherwise its headers and
its images are read by their ranges: never the whole tar twice.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from beam_jobs.corpus.tar_headers import HEADER_BYTES, HeadersAhead
from beam_jobs.engines import progress
from groundwork import storage

_FREE_SHARE = 0.25
_MAX_BYTES = 16_000_000_000
"""Room for copies: a share of the free disk, and no more than this."""


@contextlib.contextmanager
def open_tar(path: str) -> Iterator[BinaryIO]:
    """Open a tar file to list it; raises OSError."""
    if not storage.is_remote(path):
        with storage.open_binary(path) as file:
            yield file
        return
    copy = _copy(path)
    if copy:
        with copy.open("rb") as file:
            yield file
        return
    with io.BufferedReader(HeadersAhead(path), HEADER_BYTES) as remote:
        yield cast(BinaryIO, remote)


def local_copy(path: str) -> str:
    """The copy of a remote tar that this job has made on this machine; empty: there is none."""
    folder = _folder()
    return _find(path, folder) if folder and storage.is_remote(path) else ""


def _copy(path: str) -> Path | None:
    folder = _folder()
    if folder is None:
        return None
    folder.mkdir(exist_ok=True)
    used = sum(copy.stat().st_size for copy in folder.iterdir())
    room = min(_MAX_BYTES, (used + shutil.disk_usage(folder).free) * _FREE_SHARE)
    if used + storage.size(path) > room:
        return None
    copy = folder / _name(path)
    storage.copy_to_local(path, str(copy))
    return copy


def _folder() -> Path | None:
    """Where copies lie; None where the job does not run on one machine."""
    folder = os.environ.get(progress.FOLDER_VARIABLE)
    return Path(folder) / "tars" if folder else None


@functools.lru_cache(maxsize=4096)
def _find(path: str, folder: Path) -> str:
    # looked up once: all copies are made before the first image is read
    copy = folder / _name(path)
    return str(copy) if copy.exists() else ""


def _name(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
