"""Outputs that cannot be written, in one line. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from groundwork import storage
from groundwork.errors import DiskFull, StorageFault, UserError, one_line


def check_picture(path: str, option: str) -> None:
    """Check that a picture can be written to `path`.

    Raises:
        UserError: its name does not end in .png, or it is a folder or a URL.
    """
    _check_local(path, option)
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"{option} {path}: give a file that ends in .png")
    if Path(path).is_dir():
        raise UserError(f"{option} {path} is a folder: give a file that ends in .png")


def check_folder(path: str, option: str) -> None:
    """Check that `path` may become a folder: nothing on the way to it is a file.

    Raises:
        UserError: one is, or it is a URL.
    """
    _check_local(path, option)
    for part in (Path(path), *Path(path).parents):
        if part.exists() and not part.is_dir():
            raise UserError(f"{option} {path}: {part} is a file; name another folder")


def _check_local(path: str, option: str) -> None:
    if storage.is_remote(path):
        raise UserError(f"{option} {path} is a URL: give a local path, and copy what is written")


@contextlib.contextmanager
def writing_to(path: str, option: str) -> Iterator[None]:
    """Name `path` and `option` where the block cannot write.

    Raises:
        DiskFull: there is no space left.
        UserError: anything else that the file system refuses.
    """
    try:
        yield
    except StorageFault:  # it says all that there is to say
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left for {path}: free some, or name another") from error
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot write {path} ({reason}): name another {option}") from error
