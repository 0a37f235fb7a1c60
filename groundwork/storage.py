"""Files on a local disk or behind a URL (gs://, s3://, hdfs://), the same calls for both.

On a local disk a file appears under its name only when it is whole: it is written beside it,
flushed to the disk and renamed. An object store shows an object once it is closed, also where its
writer failed midway; a manifest, written after the shard it describes, is what vouches for a shard.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from groundwork.errors import UserError

if TYPE_CHECKING:
    from apache_beam.io.filesystems import FileSystems

TEMPORARY_PREFIX = ".incomplete-"


def is_remote(path: str) -> bool:
    """Whether `path` is a URL that Beam's filesystems serve."""
    return "://" in path


def without_file_scheme(path: str) -> str:
    """`path`, where it is a file:// URL as the local path that it means."""
    scheme = "file://"
    return unquote(path.removeprefix(scheme)) if path.startswith(scheme) else path


def join(folder: str, name: str) -> str:
    """The path of `name` in `folder`."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


@contextlib.contextmanager
def create(path: str) -> Iterator[BinaryIO]:
    """Write the file `path`; a local one appears when the block ends without an exception."""
    if is_remote(path):
        with contextlib.closing(_filesystems(path).create(path)) as file:
            yield file
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[BinaryIO]:
    """Read the file `path`.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    if not is_remote(path):
        with Path(path).open("rb") as local:
            yield local
        return
    remote = _open_remote(path)
    try:
        yield remote
    finally:
        remote.close()


def write_text(path: str, text: str) -> None:
    """Write the whole file `path`, UTF-8."""
    with create(path) as file:
        file.write(text.encode())


def read_text(path: str) -> str:
    """Read the whole file `path`, UTF-8; raises OSError."""
    with open_binary(path) as file:
        return file.read().decode()


def exists(path: str) -> bool:
    """Whether there is a file or a folder `path`."""
    return bool(_filesystems(path).exists(path)) if is_remote(path) else Path(path).exists()


def names(folder: str) -> set[str]:
    """The names of the files in `folder`; none where there is no such folder."""
    if not is_remote(folder):
        path = Path(folder)
        return {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    return {url.rpartition("/")[2] for url, _ in match(join(folder, "*"))}


def match(pattern: str) -> list[tuple[str, int]]:
    """URL and size in bytes of what matches a URL with `*`, `?`, `[…]` or `**`; raises OSError."""
    from apache_beam.io.filesystem import BeamIOError

    try:
        (found,) = _filesystems(pattern).match([pattern])
    except BeamIOError as error:
        raise OSError(str(error)) from error
    return [(metadata.path, metadata.size_in_bytes) for metadata in found.metadata_list]


def size(path: str) -> int:
    """Size of the file `path` in bytes; raises OSError."""
    if not is_remote(path):
        return Path(path).stat().st_size
    ((_, found),) = match(path)
    return found


def delete(path: str) -> None:
    """Delete the file `path` where there is one."""
    if not is_remote(path):
        Path(path).unlink(missing_ok=True)
    elif exists(path):
        _filesystems(path).delete([path])


def _open_remote(path: str) -> BinaryIO:
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes

    try:
        # UNCOMPRESSED: an image is read as it lies there, whatever its name ends with
        file = _filesystems(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    except BeamIOError as error:
        raise OSError(str(error)) from error
    return file


def _filesystems(path: str) -> type[FileSystems]:
    check_scheme(path)
    # Beam is imported late: the local path and --help do without it
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def check_scheme(path: str) -> None:
    """Check that Beam can serve the URL `path`.

    Raises:
        UserError: naming the extra to install.
    """
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    scheme = path.partition("://")[0]
    if scheme == "file":
        raise UserError(f"{path}: give the path without file://")
    extras = {"gs": "gcp", "s3": "aws", "abfs": "azure", "azfs": "azure", "hdfs": "hadoop"}
    try:
        FileSystems.get_filesystem(path)
        # Beam always has a filesystem for s3://, which fails later
        served = scheme != "s3" or importlib.util.find_spec("boto3") is not None
    except (ValueError, BeamIOError):
        served = False
    if not served:
        extra = extras.get(scheme)
        remedy = f"pip install 'apache-beam[{extra}]'" if extra else "use gs:// or s3://"
        raise UserError(f"{path}: no filesystem for {scheme}:// is installed; {remedy}")
