"""Files on a local disk or behind a URL (gs://, s3://, https://), the same calls for both.

A file appears under its name only when it is whole: a local one is written beside it, flushed to
the disk and renamed; an object is written to a temporary file and then sent as one object.

What is not there is a FileNotFoundError; a fault of the network is tried again, and then a
`StorageFault`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast
from urllib.parse import unquote

from groundwork.errors import StorageFault, UserError, one_line
from groundwork.filesystems import SCHEMES, BehindTheEnd, call, check_scheme

TEMPORARY_PREFIX = ".incomplete-"
IN_FLIGHT = 16
"""Requests of one reader at once."""
_BLOCK_BYTES = 8 << 20
"""What a request reads of a file that is read from its beginning to its end."""
_JOINED_BYTES = 8 << 20
"""Neighboring ranges are read together up to this size."""
_GAP_BYTES = 1024
"""What may lie between neighbors: the padding behind a tar's member and the next one's header."""
_SENT_AT_ONCE_BYTES = 8 << 20

_Result = TypeVar("_Result")


def is_remote(path: str) -> bool:
    """Whether `path` is a URL."""
    return "://" in path


def is_served(path: str) -> bool:
    """Whether `path` is a URL of a scheme that is read as files are."""
    return is_remote(path) and path.partition("://")[0] in {*SCHEMES, "file"}


def without_file_scheme(path: str) -> str:
    """`path`, where it is a file:// URL as the local path that it means."""
    scheme = "file://"
    return unquote(path.removeprefix(scheme)) if path.startswith(scheme) else path


def join(folder: str, name: str) -> str:
    """The path of `name` in `folder`."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


@contextlib.contextmanager
def create(path: str) -> Iterator[BinaryIO]:
    """Write the file `path`, which appears when the block ends without an exception."""
    if is_remote(path):
        check_scheme(path)
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX) as file:
            yield cast(BinaryIO, file)
            file.flush()
            _send(file.name, path)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as local:
            yield local
            local.flush()
            os.fsync(local.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def create_new(path: str, data: bytes) -> None:
    """Write the object `path` where there is none yet; of several writers one succeeds.

    Raises:
        FileExistsError: it is there.
    """
    call(path, lambda files: files.pipe_file(path, data, mode="create"), tries=1)


@contextlib.contextmanager
def open_binary(path: str, block_bytes: int = _BLOCK_BYTES) -> Iterator[BinaryIO]:
    """Read the file `path`, which may be sought in.

    Args:
        path: the file or its URL.
        block_bytes: what a request reads at least, of a URL.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    if not is_remote(path):
        with Path(path).open("rb") as local:
            yield local
        return
    with io.BufferedReader(_RemoteFile(path), block_bytes) as remote:
        remote.peek(1)  # so that what does not exist is noticed here
        yield cast(BinaryIO, remote)


class _RemoteFile(io.RawIOBase):
    """An object as a file: each read is a request for just what was asked."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._length: int | None = None
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self._length is None:
            self._length = size(self._path)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._length or 0}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def tell(self) -> int:
        return self._offset

    def readall(self) -> bytes:
        parts = []
        while data := self._read(_BLOCK_BYTES):
            parts.append(data)
        return b"".join(parts)

    def readinto(self, buffer: Any, /) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, wanted: int) -> bytes:
        if self._length is not None:
            wanted = min(wanted, max(0, self._length - self._offset))
        try:
            data = _read_range(self._path, self._offset, wanted)
        except BehindTheEnd:
            data = b""
        self._offset += len(data)
        if len(data) < wanted:  # the next read needs no request to see that this was the end
            self._length = self._offset
        return data


def read(path: str) -> bytes:
    """Read the whole file `path`, with one request; raises OSError."""
    return _read_range(path, 0, None)


def read_ranges(path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read parts of the file `path`: exactly these, neighbors together, several at once.

    Args:
        path: the file or its URL.
        ranges: (offset, length) of each part, in any order.

    Returns:
        The parts in the order asked for; a part that goes on behind the end is shorter.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    parts = read_parts([Part(path, offset, length) for offset, length in ranges])
    found = []
    for part in parts:
        if isinstance(part, OSError):
            raise part
        found.append(part)
    return found


class Part(NamedTuple):
    """What is to be read of a file."""

    path: str
    offset: int = 0
    length: int | None = None
    """In bytes; None: from the beginning, all that there is."""


def read_parts(parts: Sequence[Part]) -> list[bytes | OSError]:
    """Read parts of many files, as `read_ranges` does of one.

    Returns:
        The parts in the order asked for, or why one cannot be read.

    Raises:
        StorageFault: the storage itself fails, which says nothing of the file.
    """
    found: list[bytes | OSError] = [b""] * len(parts)

    def fetch(group: list[int]) -> None:
        path, first, length = parts[group[0]]
        if length is not None:
            length = max(parts[n].offset + (parts[n].length or 0) for n in group) - first
        try:
            data = memoryview(_read_range(path, first, length))
        except StorageFault:
            raise
        except OSError as error:
            for number in group:
                found[number] = error
            return
        for number in group:
            start = parts[number].offset - first
            own = parts[number].length
            found[number] = bytes(data[start : None if own is None else start + own])

    in_parallel(fetch, _neighbors(parts))
    return found


def _neighbors(parts: Sequence[Part]) -> list[list[int]]:
    """Numbers of the parts that one request reads, for each request."""
    groups: list[list[int]] = []
    path, start, end = "", 0, 0
    order = sorted(
        range(len(parts)), key=lambda n: (parts[n].path, parts[n].offset, parts[n].length or 0)
    )
    for number in order:
        part = parts[number]
        stop = part.offset + (part.length or 0)
        if (
            groups
            and part.path == path
            and part.length is not None
            and parts[groups[-1][0]].length is not None
            and part.offset <= end + _GAP_BYTES
            and stop - start <= _JOINED_BYTES
        ):
            groups[-1].append(number)
            end = max(end, stop)
        else:
            groups.append([number])
            path, start, end = part.path, part.offset, stop
    return groups


def in_parallel(
    function: Callable[[Any], _Result], arguments: Sequence[Any], at_once: int = IN_FLIGHT
) -> list[_Result]:
    """The results of `function` for each argument, in order, with `at_once` calls at a time."""
    if len(arguments) < 2:
        return [function(argument) for argument in arguments]
    with ThreadPoolExecutor(min(at_once, len(arguments))) as pool:
        return list(pool.map(function, arguments))


def copy_to_local(path: str, target: str, sha256: str = "") -> None:
    """Copy the file `path` to the local file `target`, which appears when it is whole.

    Raises:
        OSError: `path` cannot be read.
        StorageFault: its SHA-256 is another than `sha256`, where one is given.
    """
    digest = hashlib.sha256()
    with create(target) as copy:
        with open_binary(path) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                copy.write(block)
        if sha256 and digest.hexdigest() != sha256:
            raise StorageFault(
                f"{path} has the SHA-256 {digest.hexdigest()} and should have {sha256}: it was "
                "changed or damaged; write it again"
            )


def copy_from_local(local: str, path: str) -> None:
    """Copy the local file `local` to the URL `path`, where it appears when it is whole.

    Raises:
        StorageFault: it cannot be written.
    """
    check_scheme(path)
    _send(local, path)


def copy_folder_to_local(folder: str, target: str) -> None:
    """Copy all that lies in a folder, at any depth; raises OSError."""
    prefix = folder.rstrip("/") + "/"
    in_parallel(
        lambda path: copy_to_local(path, str(Path(target) / path.removeprefix(prefix))),
        [path for path, _ in files_below(folder)],
    )


def make_output_folder(folder: str) -> None:
    """Make the folder of `--output`, before a job that would have nowhere to leave its result.

    Nothing is made at a URL.

    Raises:
        UserError: it cannot be made, or not be written to.
    """
    if not is_remote(folder):
        make_local_folder(folder, "--output")


def make_local_folder(folder: str, option: str) -> None:
    """Make the local folder that `option` names, and see that it can be written to.

    Raises:
        UserError: it cannot, or is a URL.
    """
    if is_remote(folder):
        raise UserError(
            f"{option} {folder} is a URL: give a local path, and copy what is written there"
        )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot write {folder} ({reason}): name another {option}") from error


def write_text(path: str, text: str) -> None:
    """Write the whole file `path`, UTF-8."""
    with create(path) as file:
        file.write(text.encode())


def read_text(path: str) -> str:
    """Read the whole file `path`, UTF-8; raises OSError."""
    return read(path).decode()


def exists(path: str) -> bool:
    """Whether there is a file or a folder `path`."""
    if not is_remote(path):
        return Path(path).exists()
    try:
        _read_range(path, 0, 1)
    except BehindTheEnd:
        return True
    except FileNotFoundError:
        return bool(_entries(path))
    return True


def size(path: str) -> int:
    """Length of the file `path` in bytes; raises OSError."""
    if not is_remote(path):
        return Path(path).stat().st_size
    length = call(path, lambda files: files.info(path)).get("size")
    if length is None:
        raise StorageFault(f"{path}: the server does not say how long it is; copy it and use that")
    return int(length)


def names(folder: str) -> set[str]:
    """The names of the files in `folder`; none where there is no such folder."""
    return {path.rpartition("/")[2] for path, _, _ in _entries(folder)}


def folders(folder: str) -> list[str]:
    """The folders in `folder`, sorted; none where there is no such folder."""
    return sorted(path for path, _, is_folder in _entries(folder) if is_folder)


def files_below(folder: str) -> Iterator[tuple[str, int]]:
    """Path and size in bytes of each file in `folder` at any depth, one folder after another."""
    below = []
    for path, length, is_folder in sorted(_entries(folder)):
        if is_folder:
            below.append(path)
        else:
            yield path, length
    for path in below:
        yield from files_below(path)


def _entries(folder: str) -> list[tuple[str, int, bool]]:
    """Path, size and whether it is a folder, of all that lies in `folder` itself."""
    if not is_remote(folder):
        path = Path(folder)
        if not path.is_dir():
            return []
        return [
            (str(entry), entry.stat().st_size if entry.exists() else 0, entry.is_dir())
            for entry in path.iterdir()
        ]
    try:
        found = call(folder, lambda files: files.ls(folder.rstrip("/") + "/", detail=True))
    except FileNotFoundError:
        return []
    here = folder.rstrip("/")
    entries = []
    for info in found:
        path_of_entry = _with_scheme(folder, info["name"])
        if path_of_entry != here:  # the marker object of the folder itself
            entries.append((path_of_entry, int(info["size"] or 0), info["type"] == "directory"))
    return entries


def match(pattern: str) -> list[tuple[str, int]]:
    """URL and size in bytes of what matches a URL with `*`, `?`, `[…]` or `**`; raises OSError."""
    found = call(pattern, lambda files: files.glob(pattern, detail=True))
    return [
        (_with_scheme(pattern, name), int(info["size"] or 0))
        for name, info in sorted(found.items())
        if info["type"] == "file"
    ]


def delete(path: str) -> None:
    """Delete the file `path` where there is one."""
    if not is_remote(path):
        Path(path).unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError):
        call(path, lambda files: files.rm_file(path))


def delete_folder(folder: str) -> None:
    """Delete a folder and all that lies in it, where there is one."""
    if is_remote(folder):
        # one by one: an emulator may hang on several in one folder
        for path in [path for path, _ in files_below(folder)]:
            delete(path)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _with_scheme(path: str, name: str) -> str:
    """`name`, as fsspec gives it, as a URL of the scheme of `path`."""
    return name if is_remote(name) else f"{path.partition('://')[0]}://{name.rstrip('/')}"


def _send(local: str, path: str) -> None:
    """Write a local file to a URL. One that is tried again is sent whole again."""
    if Path(local).stat().st_size <= _SENT_AT_ONCE_BYTES:
        data = Path(local).read_bytes()
        call(path, lambda files: files.pipe_file(path, data))
    else:
        call(path, lambda files: files.put_file(local, path))


def _read_range(path: str, offset: int, length: int | None) -> bytes:
    """A part of a file, or all of it, with one request."""
    if length == 0:
        return b""
    if not is_remote(path):
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(-1 if length is None else length)
    limits = {} if length is None else {"start": offset, "end": offset + length}
    if path.startswith("s3://"):  # without it, s3fs asks for the size first
        limits["max_concurrency"] = 1
    data: bytes = call(path, lambda files: files.cat_file(path, **limits))
    return data
