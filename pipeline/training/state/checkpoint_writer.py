"""Writing checkpoints while training goes on.

Training waits for a copy of the state in host memory; a thread writes that copy. Measured for B/16
with AdamW (1 GB) on two busy CPU cores, writing takes 7 to 13 s and the copy a fraction of a
second.
"""

from __future__ import annotations

import os
import posixpath
import re
import threading

import tensorflow as tf

from groundwork.errors import DiskFull
from groundwork.storage import is_remote
from pipeline.process.disk_full import explain_full_disk
from pipeline.training.state.train_state import TrainState

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


def remove_leftovers(folder: str) -> list[str]:
    """Remove what a kill left of a checkpoint that was not finished; returns the names.

    Only for who is the only one to write there.
    """
    whole = {posixpath.basename(path) for path in checkpoints_in(folder)}
    left = [match for match in _files(folder) if match[2] == "_temp" or match[1] not in whole]
    for match in left:
        _remove(posixpath.join(folder, match[0]))
    return [match[0] for match in left]


def _files(folder: str) -> list[re.Match[str]]:
    # Listed, not globbed: the folder's own name may hold what a pattern would read otherwise.
    try:
        names = tf.io.gfile.listdir(folder)
    except tf.errors.NotFoundError:
        return []
    return [match for name in sorted(names) if (match := FILE.fullmatch(name))]


def _remove(path: str) -> None:
    remove = tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove
    remove(path)


def _remove_checkpoint(path: str) -> None:
    """The index first: without it there is no checkpoint, with it there would be half of one."""
    folder, name = posixpath.split(path)
    for match in sorted(_files(folder), key=lambda match: match[2] != ".index"):
        if match[1] == name:
            _remove(posixpath.join(folder, match[0]))


def _to_disk(path: str) -> None:
    """Have the system write the files of a checkpoint, and their names, to the disk itself.

    A power cut would otherwise leave less than what was reported as saved.
    """
    folder, name = posixpath.split(path)
    if is_remote(folder):
        return
    for place in [*(posixpath.join(folder, m[0]) for m in _files(folder) if m[1] == name), folder]:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class CheckpointWriter:
    """Saves a state to one folder; one save at a time, each whole or not there."""

    def __init__(self, state: TrainState, folder: str, keep: int):
        """Keep the `keep` newest checkpoints in `folder`, those that are there included."""
        self._copies: list[tuple[tf.Variable, tf.Variable]] = []  # of the state, on the host
        self._checkpoint = state.trackable(self._host_copy)
        self._folder = folder
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, step: int, **values: float) -> None:
        """Begin to write the state as it is now, under the number `step`.

        Args:
            step: of the state.
            values: float64 scalars to keep in the checkpoint, by name.

        Raises:
            DiskFull: the save before this one could not be written.
        """
        self.wait()
        for variable, copy in self._copies:
            copy.assign(variable.value())
        for name, value in values.items():
            setattr(self._checkpoint, name, tf.Variable(value, dtype=tf.float64, trainable=False))
        self._thread = threading.Thread(target=self._write, args=(step,), name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raise DiskFull as soon as it is known that the last save could not be written."""
        if self._error:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until the last save is written; raises as `check`."""
        if self._thread:
            self._thread.join()
            self._thread = None
        self.check()

    def _host_copy(self, variable: tf.Variable) -> tf.Variable:
        with tf.device("CPU:0"):
            copy = tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
        self._copies.append((variable, copy))
        return copy

    def _write(self, step: int) -> None:
        path = posixpath.join(self._folder, f"ckpt-{step}")
        there = checkpoints_in(self._folder)
        try:
            with explain_full_disk(f"the checkpoint of step {step}", self._folder):
                tf.io.gfile.makedirs(self._folder)
                self._checkpoint.write(path)
                _to_disk(path)
                self._remove_others(step)
        except Exception as error:  # raised in the training thread
            if isinstance(error, DiskFull) and path not in there:
                _remove_checkpoint(path)
            self._error = error

    def _remove_others(self, step: int) -> None:
        """Leave the newest, up to `step`: those after it were damaged, and passed over."""
        steps = [step_of(path) for path in checkpoints_in(self._folder)]
        kept = [other for other in steps if other <= step][-self._keep :]
        for other in sorted(set(steps) - set(kept)):
            _remove_checkpoint(posixpath.join(self._folder, f"ckpt-{other}"))
