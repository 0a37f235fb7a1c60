"""One image of a corpus before anybody has read it: what a job lists, hashes and groups."""

from __future__ import annotations

import hashlib
import os
import pickle
import unicodedata
import zlib
from collections.abc import Iterable
from typing import NamedTuple

UNKNOWN_LENGTH = -1


class Entry(NamedTuple):
    """An image and where it lies. Some 200 bytes: this is what is shuffled, never the image."""

    key: str
    """Unique in the dataset, any Unicode."""
    labels: tuple[str, ...]
    """Class names: one, unless the dataset has several labels to an image; empty: none."""
    path: bytes
    """File or URL; bytes, since a file name need not be UTF-8."""
    offset: int = 0
    """Where the image begins in the file."""
    length: int = UNKNOWN_LENGTH
    """Bytes of the image; UNKNOWN_LENGTH: as many as there are."""
    split: str = ""
    """The split it is meant for; empty: by a hash of its key."""
    problem: str = ""
    """Why it cannot be read, where that is known already."""

    @property
    def locator(self) -> str:
        """Where the image lies, for people."""
        path = printable(self.path)
        return f"{path}@{self.offset}+{self.length}" if self.offset else path


def pack(entries: Iterable[Entry]) -> bytes:
    """Entries as some 30 bytes each: their paths have most in common.

    On one machine Beam keeps what it groups in memory; each entry by itself would take 1 kB there.
    """
    return zlib.compress(pickle.dumps([tuple(entry) for entry in entries]), level=1)


def unpack(block: bytes) -> list[Entry]:
    """The inverse of `pack`."""
    return [Entry(*values) for values in pickle.loads(zlib.decompress(block))]


def printable(name: bytes) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8 become \xNN."""
    return name.decode("utf-8", "backslashreplace")


def text(name: str) -> str:
    """`printable` of a name as Python's os functions give it."""
    return printable(os.fsencode(name))


def class_name(name: str) -> str:
    r"""A folder's name (`text`) as the name of a class, which TFDS keeps one a line and stripped.

    Control characters become escapes such as \n, spaces at the ends \x20.
    """
    inner = name.strip()
    head, _, tail = name.partition(inner) if inner else (name, "", "")
    ends = ["".join(f"\\x{ord(character):02x}" for character in part) for part in (head, tail)]
    escaped = (repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in inner)
    return f"{ends[0]}{''.join(escaped)}{ends[1]}"


def fingerprint(job_fingerprint: str, labels: Iterable[str], entries: Iterable[Entry]) -> str:
    """SHA-256 of what makes a shard: the job, the dataset's class names, its entries."""
    digest = hashlib.sha256(repr((job_fingerprint, *labels)).encode())
    for entry in entries:
        digest.update(repr(tuple(entry)).encode())
    return digest.hexdigest()
