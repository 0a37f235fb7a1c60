"""A full disk, told in one line."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from groundwork.errors import DiskFull, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)


@contextlib.contextmanager
def explain_full_disk(what: str, path: str) -> Iterator[None]:
    """Within it, running out of space (or quota) while writing `what` to `path` is a DiskFull.

    A place that may not, or no longer, be written to is a UserError.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = _reason(error, FULL)
        if reason is None:
            refused = _reason(error, REFUSED)
            if refused is None or path not in str(error):  # that of something which is read
                raise
            raise UserError(
                f"{what} could not be written to {path} ({refused}): make it writable, or choose "
                "another place"
            ) from error
        raise DiskFull(
            f"{what} could not be written to {path} ({reason}): what was there before is kept; "
            f"make room, and the same command goes on from there"
        ) from error


def _reason(error: Exception, numbers: Sequence[int]) -> str | None:
    """The system's words for one of its errors; None for any other."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno and error.errno in numbers else None
    # TensorFlow keeps no errno, and its RESOURCE_EXHAUSTED is memory too.
    return next((text for text in map(os.strerror, numbers) if text in str(error)), None)
