"""Outputs that cannot be written, in one line. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from groundwork import storage
from groundwork.errors import DiskFull, StorageFault, UserError, one_line


def check_picture(path: str, option: str) -> None:
    """Check that a picture can be written to `path`, whose folder is made.

    Raises:
        UserError: it cannot; its name does not end in .png; or it is a folder or a URL.
    """
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"{option} {path}: give a file that ends in .png")
    if Path(path).is_dir():
        raise UserError(f"{option} {path} is a folder: give a file that ends in .png")
    storage.make_local_folder(path if storage.is_remote(path) else str(Path(path).parent), option)


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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left for {path}: free some, or name another") from error
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot write {path} ({reason}): name another {option}") from error
