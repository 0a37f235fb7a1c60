"""Files in a corpus that are taken for no image: told by name or first bytes, counted by reason."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import PurePosixPath
from typing import NamedTuple

from beam_jobs.images.image_formats import IMAGE_SUFFIXES, format_of


class Why(str, Enum):
    """Why a file is passed over. The list is fixed: jobs count by it."""

    HIDDEN = "hidden"
    """Its name begins with a dot, or it is macOS's __MACOSX."""
    VECTOR_IMAGE = "vector_image"
    """SVG, PDF or PostScript, which has no pixels: convert it to PNG."""
    ARCHIVE = "archive"
    """An archive inside a folder or another archive: give it to --input by itself."""
    COMPANION = "companion"
    """A mask or other picture beside the image of its name, such as x.seg.png beside x.jpg."""
    NOT_A_FILE = "not_a_file"
    """A pipe, a socket, a device, or a link in an archive that leads nowhere."""
    NO_IMAGE = "no_image"
    """Anything else: neither its name nor its first bytes are an image's."""


class PassedOver(NamedTuple):
    """A file that is taken for no image."""

    why: Why


_VECTOR = (".svg", ".svgz", ".pdf", ".eps", ".ps", ".ai")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_OTHER = (
    *(".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".md", ".yaml", ".yml", ".cls"),
    *(".py", ".log", ".ini", ".db", ".parquet", ".npy", ".npz", ".mat", ".mp4", ".mp3", ".wav"),
)
"""Names that are believed, so that labels beside a million images cost no million reads."""


def look_at(name: str, head: Callable[[], bytes]) -> PassedOver | None:
    """Whether a file is an image; then None.

    Args:
        name: of the file, without its folder.
        head: gives its first bytes; asked where the name does not say what it is.
    """
    if is_hidden(name):
        return PassedOver(Why.HIDDEN)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return None
    if suffix in _VECTOR:
        return PassedOver(Why.VECTOR_IMAGE)
    if suffix in _ARCHIVES:
        return PassedOver(Why.ARCHIVE)
    if suffix in _OTHER or format_of(head()) is None:
        return PassedOver(Why.NO_IMAGE)
    return None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of a corpus."""
    return name.startswith(".") or name == "__MACOSX"
