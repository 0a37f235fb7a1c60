"""Copies of input that cannot be read in place, kept in the dataset folder while it is written.

Images are read in the order of their keys' hashes, here and there in a file. In a gzip stream or
in Parquet's pages each of them would cost what lies before it, so these are unpacked once. The
copies are removed when the dataset is complete.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from beam_jobs.corpus import folder_source
from groundwork import storage
from groundwork.errors import JobError

CODEC = "unpacked"
"""Of an entry whose bytes lie in the copy of its file."""
FOLDER = ".unpacked"
_CHUNK_BYTES = 1 << 22


def location(folder: str, path: bytes) -> str:
    """Where the copy of the file `path` lies in the dataset folder."""
    name = hashlib.blake2b(path, digest_size=16).hexdigest()
    return storage.join(folder, f"{FOLDER}/{name}")


def is_current(folder: str, path: str) -> bool:
    """Whether there is a whole copy, made since the local file `path` was last changed."""
    copy = location(folder, os.fsencode(path))
    if storage.is_remote(path) or not storage.exists(copy):
        return False
    return storage.is_remote(folder) or folder_source.modified(copy) > folder_source.modified(path)


@contextlib.contextmanager
def create(folder: str, path: str) -> Iterator[BinaryIO]:
    """Write the copy of `path`; it appears when it is whole."""
    copy = location(folder, os.fsencode(path))
    try:
        with storage.create(copy) as file:
            yield file
    except OSError as error:
        raise JobError(
            f"cannot unpack {path} to {copy}: {error.strerror or error}; make room, or unpack it "
            "yourself and give that to --input"
        ) from error


def unpack(folder: str, path: str) -> str:
    """Decompress a .gz, .bz2 or .xz file and give the path of the copy; raises OSError.

    Of a damaged file the copy has what comes before the damage.
    """
    copy = location(folder, os.fsencode(path))
    if is_current(folder, path):
        return copy
    with (
        storage.open_binary(path) as packed,
        _decompressed(packed, path.lower()) as stream,
        create(folder, path) as file,
    ):
        for chunk in _until_damage(stream):
            file.write(chunk)
    return copy


def _until_damage(stream: io.BufferedIOBase) -> Iterator[bytes]:
    with contextlib.suppress(OSError, EOFError, zlib.error, lzma.LZMAError):
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _decompressed(file: BinaryIO, name: str) -> bz2.BZ2File | lzma.LZMAFile | gzip.GzipFile:
    if name.endswith("bz2"):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file) if name.endswith("xz") else gzip.GzipFile(fileobj=file)


def remove(folder: str) -> None:
    """Delete all copies in the dataset folder."""
    place = storage.join(folder, FOLDER)
    for name in storage.names(place):
        storage.delete(storage.join(place, name))
    if not storage.is_remote(place) and Path(place).is_dir():
        Path(place).rmdir()
