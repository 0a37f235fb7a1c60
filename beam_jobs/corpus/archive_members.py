"""What the members of an archive (tar or zip) are: images, their labels, or neither.

Members may lie in class folders (CLASS/x.jpg), or beside members of the same stem that say more
(WebDataset: x.jpg with x.cls, x.json, x.txt).
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.folder_source import SPLIT_FOLDERS, split_of_folder
from beam_jobs.corpus.passed_over import PassedOver, Why, is_hidden, look_at
from beam_jobs.corpus.table_rows import labels_of
from beam_jobs.images.image_formats import HEAD_BYTES
from groundwork.errors import UserError

_LABEL_SUFFIXES = (".cls", ".json")
_CAPTION = "txt"
"""Field of --keep that holds what a .txt member says."""
_JSON_KEYS = ("label", "cls", "class", "class_name")
"""Where a WebDataset .json member keeps the label; the first one present."""
_COMPANIONS = frozenset(
    (
        *("seg", "segmentation", "mask", "label", "labels", "semantic", "instance", "panoptic"),
        *("depth", "alpha", "normal", "edge", "edges", "thumb", "thumbnail", "gt", "trimap"),
    )
)
"""What a picture is that is named x.THIS.png and stands beside x.jpg."""


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    offset: int
    size: int
    """Bytes as they lie in the archive."""
    problem: str = ""


@dataclass(frozen=True)
class Naming:
    """What keys and labels of an archive's members are made of."""

    path: bytes
    """Of the archive."""
    prefix: str
    """Of the keys."""
    label: tuple[str, ...]
    """Of all images; empty: by the members."""
    split_folders: bool
    """The first folder is the split, the second one the class."""
    keep: tuple[str, ...]
    """Fields to keep, of .json members and, as `txt`, what .txt members say."""
    modified: int = 0
    """When the archive was last changed, Unix time in ns."""


@dataclass
class Members:
    """Sorts the members of one archive as they come; those with one stem stand side by side.

    Args:
        naming: see there.
        read: gives the content of a member, at most so many bytes of it.
        codec: of the images' entries.
    """

    naming: Naming
    read: Callable[[Member, int], bytes]
    codec: Callable[[Member], str] = lambda member: ""
    _stem: str = ""
    _images: list[Member] = field(default_factory=list)
    _labels: tuple[str, ...] | None = None
    _problem: str = ""
    _fields: dict[str, Any] = field(default_factory=dict)
    _only_splits: bool = True
    _deep: bool = False
    images: int = 0
    """Those found up to now."""

    def add(self, member: Member) -> Iterator[Entry | PassedOver]:
        """Take one member, and give what is known by now."""
        name = PurePosixPath(member.name).name
        if any(map(is_hidden, _parts(member.name))):
            yield PassedOver(Why.HIDDEN)
            return
        if _stem(member.name) != self._stem:
            yield from self.flush()
            self._stem = _stem(member.name)
        if name.endswith(_LABEL_SUFFIXES):
            self._read_label(member)
        elif name.endswith(f".{_CAPTION}") and _CAPTION in self.naming.keep:
            self._fields[_CAPTION] = self._text(member)
        elif passed := look_at(name, lambda: self.read(member, HEAD_BYTES)):
            yield passed
        else:
            self._images.append(member)

    def flush(self) -> Iterator[Entry | PassedOver]:
        """Give what is left of the members with the last stem."""
        simple = any(_middle(member.name) == "" for member in self._images)
        for member in self._images:
            middle = _middle(member.name)
            beside = middle in _COMPANIONS or (middle and self._labels is not None)
            if simple and beside:
                yield PassedOver(Why.COMPANION)
            else:
                self.images += 1
                yield self._entry(member)
        self._images, self._labels, self._problem, self._fields = [], None, "", {}

    def finish(self) -> Iterator[Entry | PassedOver]:
        """Give the rest.

        Raises:
            UserError: the folders that were taken for classes are splits.
        """
        yield from self.flush()
        if self._deep and self._only_splits:
            raise UserError(
                f"--input {text(self.naming.prefix)} holds folders of splits, such as train and "
                "val, not of classes: give --splits folders"
            )

    def _entry(self, member: Member) -> Entry:
        naming = self.naming
        parts = [text(part) for part in _parts(member.name)]
        folders, split = parts[:-1], ""
        if naming.split_folders:
            split = split_of_folder(folders[0], naming.prefix) if folders else ""
            folders = folders[1:]
        if self._labels is not None:
            labels = self._labels
        elif naming.label or not folders:
            labels = naming.label
        else:
            labels = (class_name(folders[0]),)
            self._only_splits &= folders[0].lower() in SPLIT_FOLDERS
            self._deep |= len(folders) > 1
        kept = {name: self._fields[name] for name in naming.keep if name in self._fields}
        return Entry(
            f"{naming.prefix}/{'/'.join(parts)}",
            labels,
            naming.path,
            member.offset,
            member.size,
            split,
            problem=member.problem or self._problem,
            codec=self.codec(member),
            extra=json.dumps(kept, sort_keys=True) if kept else "",
            modified=naming.modified,
        )

    def _read_label(self, member: Member) -> None:
        content = self._text(member)
        if member.name.endswith(".cls"):
            self._labels = (class_name(content),) if content else ()
            return
        try:
            fields = json.loads(content)
        except ValueError as error:
            self._problem = f"{text(member.name)} beside it is no JSON: {error}"
            return
        if isinstance(fields, dict):
            self._fields.update(fields)
            found = [fields[key] for key in _JSON_KEYS if key in fields]
            if found:
                where = f"{self.naming.prefix}/{text(member.name)}"
                self._labels = labels_of(found[0], where)

    def _text(self, member: Member) -> str:
        content = self.read(member, member.size)
        return content.decode("utf-8", "backslashreplace").strip()


def normal(name: str) -> str:
    """A member's name as it can be compared."""
    return posixpath.normpath(name)


def _parts(name: str) -> list[str]:
    """A member's path without what points outside of the archive. Nothing is ever unpacked."""
    return [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]


def _stem(name: str) -> str:
    """As WebDataset groups members: the path up to the first dot of the file's name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _middle(name: str) -> str:
    """What stands between the stem and the suffix, in lower case: `seg` in x.seg.png."""
    behind = PurePosixPath(name).name.partition(".")[2]
    return behind.rpartition(".")[0].lower()
