"""One image of a corpus before anybody has read it: what a job lists, hashes and groups."""

from __future__ import annotations

import hashlib
import os
import pickle
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

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
    missing: int = 0
    """Images that a damaged archive has lost, by estimate; this entry stands for them."""
    codec: str = ""
    """How the bytes are kept, see `codecs`; empty: as they are."""
    extra: str = ""
    """Fields of --keep, a JSON object; empty: none."""
    modified: int = 0
    """When the file was last changed, Unix time in ns, where that is known. Decides nothing."""

    @property
    def locator(self) -> str:
        """Where the image lies, for people."""
        path = printable(self.path)
        return f"{path}@{self.offset}+{self.length}" if self.offset else path


def pack(entries: Iterable[Entry], passed_over: Mapping[str, int] | None = None) -> bytes:
    """Entries as some 30 bytes each: their paths have most in common.

    On one machine Beam keeps what it groups in memory; each entry by itself would take 1 kB there.
    `passed_over`: files that are no images, by reason.
    """
    values = ([tuple(entry) for entry in entries], dict(passed_over or {}))
    return zlib.compress(pickle.dumps(values), level=1)


def unpack(block: bytes) -> list[Entry]:
    """The entries that `pack` was given."""
    entries: list[tuple[Any, ...]] = pickle.loads(zlib.decompress(block))[0]
    return [Entry(*values) for values in entries]


def passed_over(block: bytes) -> dict[str, int]:
    """The counts that `pack` was given."""
    counts: dict[str, int] = pickle.loads(zlib.decompress(block))[1]
    return counts


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


def fingerprint(job_fingerprint: str, numbers: Mapping[str, int], entries: Iterable[Entry]) -> str:
    """SHA-256 of what makes a shard: the job, its entries, and the numbers of their classes.

    So a class that is new elsewhere, and moves no number here, leaves the shard as it is.
    """
    digest = hashlib.sha256(job_fingerprint.encode())
    used: set[str] = set()
    for entry in entries:
        digest.update(repr(tuple(entry._replace(modified=0))).encode())
        used.update(entry.labels)
    digest.update(repr([(label, numbers[label]) for label in sorted(used)]).encode())
    return digest.hexdigest()
