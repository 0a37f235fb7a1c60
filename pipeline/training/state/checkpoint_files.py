"""The files of checkpoints in a folder or a bucket."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from groundwork import storage
from pipeline.process.staging import forget, staged

FILE = re.compile(r"(ckpt-\d+)(\.index|\.data-\d+-of-\d+|_temp)/?")
"""Files of a checkpoint, and the folder that TensorFlow writes them in."""


def checkpoints_in(folder: str) -> list[str]:
    """Paths of the checkpoints in `folder`, oldest first; their names end in their step.

    What lies there counts, not TensorFlow's list of it, the file `checkpoint`: without that list
    a run would begin anew over what is there.
    """
    names = {match[1] for match in _files(folder) if match[2] == ".index"}
    return sorted((posixpath.join(folder, name) for name in names), key=step_of)


def step_of(path: str) -> int:
    """The step of a checkpoint."""
    return int(path.rsplit("-", 1)[1])


@contextlib.contextmanager
def local_checkpoint(path: str) -> Iterator[str]:
    """The checkpoint `path` itself where it is local, else the path of a copy of it.

    Raises:
        FileNotFoundError: it has gone.
        StorageFault: the bucket cannot be reached.
    """
    if not storage.is_remote(path):
        yield path
        return
    folder, name = posixpath.split(path)
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as copies:
        for file in _names(path):
            storage.copy_to_local(posixpath.join(folder, file), posixpath.join(copies, file))
        yield posixpath.join(copies, name)


@contextlib.contextmanager
def written_checkpoint(path: str) -> Iterator[str]:
    """Where to write the checkpoint `path`; when the block ends, it is there, and stays.

    A local one is flushed: a power cut would otherwise leave less than what was reported as saved.
    One in a bucket is sent, the index last, without which there is no checkpoint.

    Raises:
        OSError, StorageFault: it cannot be written.
    """
    folder, name = posixpath.split(path)
    local = posixpath.join(staged(folder), name)
    Path(staged(folder)).mkdir(parents=True, exist_ok=True)
    try:
        yield local
        if not storage.is_remote(path):
            _to_disk(path)
            return
        for file in sorted(_names(local), key=lambda file: file.endswith(".index")):
            storage.copy_from_local(
                posixpath.join(staged(folder), file), posixpath.join(folder, file)
            )
    finally:
        forget(folder)


def remove_checkpoint(path: str) -> None:
    """The index first: without it there is no checkpoint, with it there would be half of one."""
    folder = posixpath.dirname(path)
    for file in sorted(_names(path), key=lambda file: not file.endswith(".index")):
        _remove(posixpath.join(folder, file))


def remove_leftovers(folder: str) -> list[str]:
    """Remove what a kill left of a checkpoint that was not finished; returns the names.

    Only for who is the only one to write there.
    """
    forget(folder)
    whole = {posixpath.basename(path) for path in checkpoints_in(folder)}
    left = [match for match in _files(folder) if match[2] == "_temp" or match[1] not in whole]
    for match in left:
        _remove(posixpath.join(folder, match[0]))
    return [match[0] for match in left]


def _files(folder: str) -> list[re.Match[str]]:
    # Listed, not globbed: the folder's own name may hold what a pattern would read otherwise.
    return [match for name in sorted(storage.names(folder)) if (match := FILE.fullmatch(name))]


def _names(path: str) -> list[str]:
    """Names of the files of the checkpoint `path`."""
    folder, name = posixpath.split(path)
    return [match[0] for match in _files(folder) if match[1] == name]


def _remove(path: str) -> None:
    if not storage.is_remote(path) and Path(path).is_dir():
        shutil.rmtree(path)
    else:
        storage.delete(path)


def _to_disk(path: str) -> None:
    """Have the system write the files of a checkpoint, and their names, to the disk itself."""
    folder = posixpath.dirname(path)
    for place in [*(posixpath.join(folder, file) for file in _names(path)), folder]:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
