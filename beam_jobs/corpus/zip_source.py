"""Images inside zip files, found without unpacking: each is a range of bytes, deflated or not."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from beam_jobs.corpus import folder_source
from beam_jobs.corpus.archive_members import Member, Members, Naming
from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.passed_over import PassedOver
from groundwork import storage

SUFFIX = ".zip"
CODEC = "deflate"
"""Of an entry whose bytes are a raw deflate stream."""
_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member: the lengths of its name and its extra field, behind which its bytes begin."""
_ENCRYPTED = 1
_MOST_BYTES = 1 << 29
"""That an image may inflate to: deflate makes a thousand bytes of one."""
_TYPICAL_BYTES = 100_000


def list_zip(
    path: str,
    *,
    label_from_archive: bool = False,
    split_folders: bool = False,
    keep: tuple[str, ...] = (),
) -> Iterator[Entry | PassedOver]:
    """The images of a zip file; the arguments are those of `list_tar`.

    Without its directory, which is its end, an archive has no member that could be read: one entry
    says so and stands for as many images as its size has room for.
    """
    name = PurePosixPath(text(path)).name
    label = (class_name(name[: -len(SUFFIX)]),) if label_from_archive else ()
    naming = Naming(
        os.fsencode(path), name, label, split_folders, keep, folder_source.modified(path)
    )
    try:
        with storage.open_binary(path) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                archive = zipfile.ZipFile(file)
            except (zipfile.BadZipFile, NotImplementedError) as error:
                missing = max(1, size // _TYPICAL_BYTES)
                problem = (
                    f"the archive is damaged or cut short: {error}; {missing:,} images are counted "
                    "as missing, by its size"
                )
                yield Entry(name, label, naming.path, problem=problem, missing=missing)
                return
            yield from _members(archive, naming)
    except OSError as error:
        problem = f"cannot be opened: {error.strerror or error}"
        yield Entry(name, label, os.fsencode(path), problem=problem)


def _members(archive: zipfile.ZipFile, naming: Naming) -> Iterator[Entry | PassedOver]:
    infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}

    def read(member: Member, length: int) -> bytes:
        if member.problem:
            return b""
        with archive.open(infos[member.name]) as content:
            return content.read(min(length, infos[member.name].file_size))

    def codec(member: Member) -> str:
        return CODEC if infos[member.name].compress_type == zipfile.ZIP_DEFLATED else ""

    members = Members(naming, read, codec)
    for name in sorted(infos):  # so that members of one stem stand side by side
        yield from members.add(_member(archive, infos[name]))
    yield from members.finish()


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    problem = ""
    if info.flag_bits & _ENCRYPTED:
        problem = "it is encrypted: unpack the archive with its password"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"it is compressed by method {info.compress_type}: repack the archive with zip"
    assert archive.fp is not None  # it is open
    archive.fp.seek(info.header_offset)
    header = archive.fp.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        return Member(info.filename, 0, 0, "the archive has no such member where it says it has")
    offset = info.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
    return Member(info.filename, offset, info.compress_size, problem)


def inflate(data: bytes) -> bytes:
    """The content of a deflated member.

    Raises:
        ValueError: it is damaged, or too large for an image.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"its compressed bytes are damaged: {error}") from error
    if not stream.eof:
        raise ValueError("its compressed bytes are cut short, or more than an image's")
    return content
