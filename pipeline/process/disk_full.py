"""A full disk, told in one line."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

import tensorflow as tf

from groundwork.errors import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def explain_full_disk(what: str, path: str) -> Iterator[None]:
    """Within it, running out of space (or quota) while writing `what` to `path` is a DiskFull."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DiskFull(
            f"{what} could not be written to {path} ({reason}): what was there before is kept; "
            f"make room, and the same command goes on from the newest checkpoint"
        ) from error


def _reason(error: Exception) -> str | None:
    """The system's words for a full disk; None for any other error."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in FULL else None
    # TensorFlow keeps no errno, and its RESOURCE_EXHAUSTED is memory too.
    return next((text for text in map(os.strerror, FULL) if text in str(error)), None)
