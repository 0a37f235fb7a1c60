"""Images inside tar files, found without unpacking: each is a range of bytes of the file.

Beside what `archive_members` knows, a tar within the tar is named for its class (ImageNet's).
Archives joined end to end are read to the last one; hard and symbolic links are what they lead to.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import BinaryIO

from beam_jobs.corpus import folder_source, tar_spool, unpacked
from beam_jobs.corpus.archive_members import Member, Members, Naming, normal
from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.passed_over import PassedOver

SUFFIX = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Read from a copy, see `unpacked`."""
SUFFIXES = (SUFFIX, *COMPRESSED)
_BLOCK = tarfile.BLOCKSIZE
_SCAN_BLOCKS = 2048
_TYPICAL_BYTES = 100_000
"""Of an image, where a damaged archive shows none to go by."""
_MOST_LINKS = 8
"""That may lead from one to the next."""


class _Damaged(Exception):
    """The archive is damaged from an offset on, or (where that is its end) cut off there."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset


@dataclass(frozen=True)
class _Archive:
    """A tar, or a tar within it: a range of an open file."""

    file: BinaryIO
    start: int
    end: int

    def read(self, member: Member, length: int) -> bytes:
        self.file.seek(member.offset)
        return self.file.read(min(length, member.size))

    def members(self) -> Iterator[tarfile.TarInfo]:
        """All members; raises _Damaged."""
        position: int | None = self.start
        while position is not None:
            offset = position
            try:
                self.file.seek(position)
                with tarfile.open(fileobj=self.file, mode="r:") as archive:
                    while archive.offset < self.end and (member := archive.next()) is not None:
                        archive.members = []  # type: ignore[attr-defined]  # it keeps all it has seen
                        offset = archive.offset
                        yield member
                offset = archive.offset
            except (tarfile.TarError, OSError) as error:
                raise _Damaged(min(offset, self.end), str(error)) from error
            position = self._next_archive(offset)

    def _next_archive(self, offset: int) -> int | None:
        """Where another archive begins behind the zeros at `offset`; None: nowhere."""
        if offset >= self.end:
            raise _Damaged(self.end, "it is cut short")
        self.file.seek(offset)
        if self.file.read(_BLOCK).strip(b"\0"):  # tarfile takes such a block for the end
            raise _Damaged(offset, f"no member begins at byte {offset}")
        self.file.seek(offset)
        while offset < self.end:
            chunk = self.file.read(min(_BLOCK * _SCAN_BLOCKS, self.end - offset))
            if not chunk:
                return None
            if rest := chunk.lstrip(b"\0"):
                return offset + (len(chunk) - len(rest)) // _BLOCK * _BLOCK
            offset += len(chunk)
        return None


def list_tar(
    path: str,
    folder: str,
    *,
    label_from_archive: bool = False,
    split_folders: bool = False,
    keep: tuple[str, ...] = (),
) -> Iterator[Entry | PassedOver]:
    """The images of a tar file.

    Args:
        path: the file or its URL.
        folder: the dataset folder, which a compressed archive is unpacked to.
        label_from_archive: the label is the name of the tar file, not a folder inside it.
        split_folders: the first folder inside it is the split, the second one the class.
        keep: fields to keep.

    A damaged archive gives the images before the damage, and one entry more that says so and stands
    for as many as are missing by the archive's size. Of one that is cut short nothing shows how
    many are gone: that entry stands for as many as are left.
    """
    name = PurePosixPath(text(path)).name
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    stem = name[: len(name) - len(suffix)]
    label = (class_name(stem),) if label_from_archive else ()
    modified = folder_source.modified(path)
    naming = Naming(os.fsencode(path), name, label, split_folders, keep, modified)
    codec = unpacked.CODEC if suffix != SUFFIX else ""
    try:
        place = unpacked.unpack(folder, path) if codec else path
        with tar_spool.open_tar(place) as file:
            end = file.seek(0, os.SEEK_END)
            yield from _list(_Archive(file, 0, end), naming, codec)
    except OSError as error:
        problem = f"cannot be opened: {error.strerror or error}"
        yield Entry(name, label, os.fsencode(path), problem=problem)


def _list(archive: _Archive, naming: Naming, codec: str) -> Iterator[Entry | PassedOver]:
    members = Members(naming, archive.read, lambda member: codec)
    targets: dict[str, tarfile.TarInfo] = {}
    damage: _Damaged | None = None
    try:
        for member in archive.members():
            if member.isdir():
                continue
            if (member.islnk() or member.issym()) and not targets:
                targets = _regular_members(archive)
            found = _followed(member, targets)
            name = PurePosixPath(member.name).name
            if name.endswith(SUFFIX) and not found.problem and not name.startswith("."):
                inner = replace(
                    naming,
                    prefix=f"{naming.prefix}/{text(member.name)}",
                    label=(class_name(text(name.removesuffix(SUFFIX))),),
                )
                end = min(found.offset + found.size, archive.end)
                yield from _list(_Archive(archive.file, found.offset, end), inner, codec)
            else:
                yield from members.add(found)
    except _Damaged as error:
        damage = error
    yield from members.finish()
    if damage is not None:
        yield _lost(damage, archive, naming, members.images)


def _lost(damage: _Damaged, archive: _Archive, naming: Naming, images: int) -> Entry:
    """The entry that stands for the images behind the damage."""
    read, left = damage.offset - archive.start, archive.end - damage.offset
    if not images:
        missing = (read + left) // _TYPICAL_BYTES
        what = "counted as missing, by the size of the archive"
    elif left:
        missing = round(images * left / read)
        what = "counted as missing, by the size of what follows"
    else:
        missing = images
        what = "counted as missing, as many as are left: nothing shows how many were behind"
    missing = max(1, missing)
    return Entry(
        f"{naming.prefix} (end)",
        naming.label,
        naming.path,
        problem=f"the archive is damaged: {damage}; {missing:,} images are {what}",
        missing=missing,
    )


def _regular_members(archive: _Archive) -> dict[str, tarfile.TarInfo]:
    """By name, for links; only an archive that has links is read twice."""
    found: dict[str, tarfile.TarInfo] = {}
    try:
        for member in archive.members():
            found[normal(member.name)] = member
    except _Damaged:
        pass
    return found


def _followed(member: tarfile.TarInfo, targets: dict[str, tarfile.TarInfo]) -> Member:
    """The bytes that a member has, by itself or as a link."""
    target: tarfile.TarInfo | None = member
    for _ in range(_MOST_LINKS):
        if target is None or not (target.islnk() or target.issym()):
            break
        folder = posixpath.dirname(target.name) if target.issym() else ""
        target = targets.get(normal(posixpath.join(folder, target.linkname)))
    if target is None or not target.isreg():
        link = member.islnk() or member.issym()
        what = f"its link to {text(member.linkname)} leads nowhere" if link else "it is no file"
        return Member(member.name, 0, 0, what)
    if target.issparse():
        return Member(member.name, 0, 0, "it is stored as a sparse file: pack it as a plain one")
    return Member(member.name, target.offset_data, target.size)
