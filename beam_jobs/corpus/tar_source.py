"""Images inside tar files, found without unpacking: each is a range of bytes of the file.

Members may lie in class folders (CLASS/x.jpg), in a tar within the tar that is named for the class
(ImageNet's), or beside a label member (WebDataset: x.jpg with x.cls or x.json).
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from beam_jobs.corpus import tar_spool
from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.folder_source import is_hidden, is_image_name

SUFFIX = ".tar"
LABEL_SUFFIXES = (".cls", ".json")
_JSON_KEYS = ("label", "cls", "class", "class_name")
"""Where a WebDataset .json member keeps the label; the first one present."""


def list_tar(path: str, *, label_from_archive: bool = False) -> Iterator[Entry]:
    """The images of a tar file.

    Args:
        path: the file or its URL.
        label_from_archive: the label is the name of the tar file, not a folder inside it.

    A damaged archive gives the images before the damage, and one entry more that says so.
    """
    name = PurePosixPath(text(path)).name
    label = (class_name(name.removesuffix(SUFFIX)),) if label_from_archive else ()
    try:
        with tar_spool.open_tar(path) as file:
            yield from _list_open(file, os.fsencode(path), name, label)
    except OSError as error:
        problem = f"cannot be opened: {error.strerror or error}"
        yield Entry(name, label, os.fsencode(path), problem=problem)


def _list_open(
    file: BinaryIO, path: bytes, prefix: str, archive_label: tuple[str, ...]
) -> Iterator[Entry]:
    """The images of the tar that begins where `file` stands; offsets are the file's own."""
    group = _Group(path, prefix, archive_label)
    damage = ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all it has seen; a corpus has millions
                name = PurePosixPath(member.name).name
                if not member.isreg() or is_hidden(name):
                    continue
                if _stem(member.name) != group.stem:
                    yield from group.entries()
                    group = _Group(path, prefix, archive_label, _stem(member.name))
                if name.endswith(SUFFIX):
                    file.seek(member.offset_data)
                    inner_label = (class_name(text(name.removesuffix(SUFFIX))),)
                    yield from _list_open(file, path, f"{prefix}/{text(member.name)}", inner_label)
                elif name.endswith(LABEL_SUFFIXES):
                    content = archive.extractfile(member)
                    assert content is not None  # it is a regular file
                    group.label = _read_label(content.read(), name.rpartition(".")[2])
                elif is_image_name(name):
                    group.images.append(member)
    except (tarfile.TarError, OSError) as error:
        damage = f"the archive is damaged, what follows is lost: {error}"
    yield from group.entries()
    if damage:
        yield Entry(f"{prefix} (end)", archive_label, path, problem=damage)


@dataclass
class _Group:
    """Members with the same stem, which stand side by side in a WebDataset: an image, its label."""

    path: bytes
    prefix: str
    archive_label: tuple[str, ...]
    stem: str = ""
    images: list[tarfile.TarInfo] = field(default_factory=list)
    label: str = ""

    def entries(self) -> Iterator[Entry]:
        for member in self.images:
            own_label = (self.label,) if self.label else ()
            labels = own_label or self.archive_label or _folder_label(member.name)
            key = f"{self.prefix}/{text('/'.join(_parts(member.name)))}"
            yield Entry(key, labels, self.path, member.offset_data, member.size)


def _parts(name: str) -> list[str]:
    """A member's path without what points outside of the archive. Nothing is ever unpacked."""
    return [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]


def _folder_label(name: str) -> tuple[str, ...]:
    parts = _parts(name)
    return (class_name(text(parts[0])),) if len(parts) > 1 else ()


def _stem(name: str) -> str:
    """As WebDataset groups members: the path up to the first dot of the file's name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _read_label(content: bytes, suffix: str) -> str:
    """The class name in a .cls or .json member; empty where it has none."""
    value = content.decode("utf-8", "backslashreplace").strip()
    if suffix == "json":
        try:
            fields = json.loads(value)
        except ValueError:
            return ""
        if not isinstance(fields, dict):
            return ""
        value = str(next((fields[key] for key in _JSON_KEYS if key in fields), ""))
    return class_name(value)
