"""Where each record of a shard begins, so that any part of it can be read without what is before.

An index is a file of little-endian int64: the offset of each record, and the size of the shard.
`beam_jobs` writes it beside the shards, in the folder `index`; for datasets of others it is made
here once, into the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from groundwork import storage
from groundwork.errors import UserError
from groundwork.user_cache import cache_folder, make_cache_folder

FOLDER = "index"
SUFFIX = ".index"
HEADER = 12
"""Bytes before a record's data: its length, and the checksum of that."""
FOOTER = 4
"""Bytes after it: the checksum of the data."""


def index_paths(shards: Iterable[str]) -> dict[str, str]:
    """The index of each shard; those that are not there are made.

    Args:
        shards: TFRecord files, local or remote.

    Returns:
        Paths by shard.

    Raises:
        UserError: a shard is no whole TFRecord file, or the cache cannot be written to.
    """
    found: dict[str, str] = {}
    names: dict[str, set[str]] = {}
    for shard in dict.fromkeys(shards):
        folder, _, name = shard.rpartition("/")
        beside = storage.join(folder, FOLDER)
        if folder not in names:
            names[folder] = storage.names(beside)
        written = f"{name}{SUFFIX}"
        found[shard] = storage.join(beside, written) if written in names[folder] else _made(shard)
    return found


def record_offsets(shard: str) -> npt.NDArray[np.int64]:
    """Offsets of the records of a TFRecord file, and its size, int64 `[records + 1]`.

    Only the lengths before the records are read.

    Raises:
        UserError: the file ends within a record.
    """
    offsets = np.fromiter(_offsets(shard), np.int64)
    return offsets


def _offsets(shard: str) -> Iterator[int]:
    with storage.open_binary(shard) as file:
        size = file.seek(0, os.SEEK_END)
        offset = 0
        while offset < size:
            yield offset
            file.seek(offset)
            header = file.read(HEADER)
            if len(header) == HEADER:
                offset += HEADER + struct.unpack("<Q", header[:8])[0] + FOOTER
            if len(header) < HEADER or offset > size:
                raise UserError(
                    f"{shard} ends within a record: copy it again, or write the dataset again"
                )
        yield offset


def _made(shard: str) -> str:
    """The index in the user's cache, made where it is not there for the shard as it is now."""
    size, changed = storage.size(shard), ""
    if not storage.is_remote(shard):
        changed = str(Path(shard).stat().st_mtime_ns)
        shard = str(Path(shard).resolve())
    name = hashlib.sha256(f"{shard}\0{size}\0{changed}".encode()).hexdigest()
    path = cache_folder(FOLDER) / f"{name}{SUFFIX}"
    if not path.exists():
        make_cache_folder(FOLDER)
        with storage.create(str(path)) as file:
            file.write(record_offsets(shard).astype("<i8").tobytes())
    return str(path)
