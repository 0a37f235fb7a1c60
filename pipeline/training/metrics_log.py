"""Scalars and pictures for TensorBoard, and the same scalars as JSON lines."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from pipeline.disk_full import explain_full_disk


class MetricsLog:
    """Writes `WORKDIR/tensorboard` and `WORKDIR/metrics.jsonl`; on other than the chief, nothing.

    A run that resumes at a step drops the rows after it: it makes them again.
    """

    def __init__(self, tensorboard: str, jsonl: str, start_step: int, write: bool = True):
        """Append to what is there up to `start_step`.

        Raises:
            DiskFull: as every method here, where there is no space left.
        """
        self._jsonl = jsonl
        self._writer = tf.summary.create_noop_writer()
        self._write = write
        if write:
            tf.io.gfile.makedirs(posixpath.dirname(jsonl))
            _drop_rows_after(jsonl, start_step)
            self._writer = tf.summary.create_file_writer(tensorboard)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row: `values` by name, such as train/loss."""
        if not self._write:
            return
        with self._writing(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            with tf.io.gfile.GFile(self._jsonl, "a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")

    def images(self, step: int, name: str, images: np.ndarray) -> None:
        """`[count, height, width, 3]` in [-1, 1] as one picture, a grid."""
        with self._writing(step):
            tf.summary.image(name, grid(images)[None])

    def text(self, step: int, name: str, markdown: str) -> None:
        """A text, such as the resolved configuration."""
        with self._writing(step):
            tf.summary.text(name, markdown)

    def close(self) -> None:
        """Write what is left and let go of the files."""
        with explain_full_disk("the log", self._jsonl):
            self._writer.close()

    def flush(self) -> None:
        """Make what was written visible to readers."""
        with explain_full_disk("the log", self._jsonl):
            self._writer.flush()

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        with explain_full_disk("the log", self._jsonl), self._writer.as_default(step=step):
            yield


def grid(images: np.ndarray) -> np.ndarray:
    """Tile `[count, height, width, 3]` in [-1, 1] into one uint8 picture, nearly square."""
    count, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    tiles = np.zeros((rows * columns, height, width, channels), np.uint8)
    tiles[:count] = np.clip(images * 127.5 + 128, 0, 255)
    tiles = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return tiles.reshape(rows * height, columns * width, channels)


def _drop_rows_after(path: str, step: int) -> None:
    if not tf.io.gfile.exists(path):
        return
    with tf.io.gfile.GFile(path) as file:
        rows = [line for line in file.read().split("\n") if line]
    kept = [row for row in rows if _step_of(row) <= step]
    if len(kept) < len(rows):
        with explain_full_disk("the log", path):
            with tf.io.gfile.GFile(path + ".new", "w") as file:
                file.write("".join(row + "\n" for row in kept))
            tf.io.gfile.rename(path + ".new", path, overwrite=True)


def _step_of(row: str) -> float:
    try:
        return json.loads(row)["step"]
    except ValueError:  # a row cut short by a kill
        return float("inf")
