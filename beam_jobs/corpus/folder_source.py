"""Images in class folders: ROOT/CLASS/any/depth/x.jpg."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from beam_jobs.corpus.entries import Entry, class_name, text
from groundwork import storage
from groundwork.errors import UserError

_READ = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
_NOT_READ = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".tga")
"""Images that no reader here takes: they are listed as rejected."""
IMAGE_SUFFIXES = frozenset(_READ + _NOT_READ)
"""Other files, such as notes and thumbnails' databases, are passed over."""


def units(root: str) -> list[str]:
    """Parts of the folder that can be listed independently of each other: its class folders.

    Raises:
        UserError: no class folder in it, or it cannot be listed.
    """
    if storage.is_remote(root):
        return [root]
    path = Path(root)
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise UserError(f"--input {root} cannot be listed: {error.strerror}") from error
    folders = [entry for entry in entries if entry.is_dir() and not is_hidden(entry.name)]
    images = [entry for entry in entries if is_image_name(entry.name) and not entry.is_dir()]
    if not folders:
        found = "holds images but no class folders" if images else "is empty"
        raise UserError(f"--input {root} {found}: put the images into {root}/CLASS/, any depth")
    return [os.fspath(folder) for folder in ([path] if images else []) + folders]


def list_unit(root: str, unit: str) -> Iterator[Entry]:
    """The images of one unit, in no particular order."""
    if storage.is_remote(root):
        yield from _list_remote(root)
    elif Path(unit) == Path(root):  # images that lie in no class folder
        for path in Path(root).iterdir():
            if is_image_name(path.name) and not path.is_dir():
                yield from file_entry(path, text(path.name), ())
    else:
        yield from _walk(Path(root), Path(unit))


def _walk(root: Path, unit: Path) -> Iterator[Entry]:
    labels = (class_name(text(unit.name)),)
    above = (root.resolve(), *root.resolve().parents, *unit.resolve().parents)
    seen = set(map(_identity, above))
    for folder, folders, files in os.walk(unit, followlinks=True):
        if _identity(Path(folder)) in seen:  # a link to a folder above, or a second one
            folders.clear()
            continue
        seen.add(_identity(Path(folder)))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        below = Path(folder).relative_to(root).as_posix()
        for name in files:
            if is_image_name(name):
                yield from file_entry(Path(folder) / name, text(f"{below}/{name}"), labels)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def file_entry(path: Path, key: str, labels: tuple[str, ...], split: str = "") -> Iterator[Entry]:
    """The entry of a local file; none where it is something else, such as a pipe."""
    name = os.fsencode(path)
    try:
        status = path.stat()
    except OSError:  # a broken link: reading it will say so
        yield Entry(key, labels, name, split=split)
    else:
        if stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            yield Entry(key, labels, name, 0, status.st_size, split)


def _list_remote(root: str) -> Iterator[Entry]:
    prefix = root.rstrip("/") + "/"
    try:
        found = storage.match(prefix + "**")
    except OSError as error:
        raise UserError(f"--input {root} cannot be listed: {error}") from error
    for path, size in found:
        key = path.removeprefix(prefix)
        labels = (class_name(key.partition("/")[0]),) if "/" in key else ()
        if is_image_name(key.rpartition("/")[2]):
            yield Entry(key, labels, path.encode(), 0, size)


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of a corpus."""
    return name.startswith(".") or name == "__MACOSX"
