"""Scalars and pictures for TensorBoard, and the same scalars as JSON lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from groundwork import storage
from pipeline.process.disk_full import explain_full_disk

DEVICE_HOURS = "speed/device_hours"
GOODPUT = "speed/goodput"
COMPARED = ("eval/accuracy", "eval/loss", "train/loss", "speed/images_per_second")
"""Results beside the settings in TensorBoard's HParams tab."""


class MetricsLog:
    """Writes `WORKDIR/tensorboard` and `WORKDIR/metrics.jsonl`; on other than the chief, nothing.

    A run that resumes at a step drops the rows after it: it makes them again.

    Attributes:
        writes: whether this process is the one that writes.
        device_hours: spent by the earlier starts of the run, the steps that were lost included.
        useful_hours: of them, those of the steps that count.
        evaluated: whether the log holds the evaluation of the step it begins with.
    """

    def __init__(self, tensorboard: str, jsonl: str, start_step: int, write: bool = True):
        """Append to what is there up to `start_step`.

        Raises:
            DiskFull: as every method here, where there is no space left.
        """
        self._jsonl = jsonl
        self._writer = tf.summary.create_noop_writer()
        self.writes = write
        self.device_hours = self.useful_hours = 0.0
        rows = _rows(jsonl)
        self.evaluated = any(row["step"] == start_step and "eval/loss" in row for row in rows)
        if write:
            self.device_hours = max((row.get(DEVICE_HOURS, 0.0) for row in rows), default=0.0)
            kept = [row for row in rows if row["step"] <= start_step]
            useful = [row[GOODPUT] * row[DEVICE_HOURS] for row in kept if GOODPUT in row]
            self.useful_hours = max(useful, default=0.0)
            _keep_rows(jsonl, kept)
            with explain_full_disk("the log", tensorboard):
                self._writer = tf.summary.create_file_writer(tensorboard)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row: `values` by name, such as train/loss."""
        if not self.writes:
            return
        with self._writing(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            with tf.io.gfile.GFile(self._jsonl, "a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A uint8 picture `[height, width, 3]`."""
        with self._writing(step):
            tf.summary.image(name, pixels[None])

    def hyperparameters(self, values: Mapping[str, bool | float | str], trial: str) -> None:
        """The settings of the run that is called `trial`, for TensorBoard's HParams tab."""
        if not self.writes:
            return
        from tensorboard.plugins.hparams import api

        with self._writing(0):
            api.hparams_config(
                hparams=[api.HParam(name) for name in values],
                metrics=[api.Metric(name) for name in COMPARED],
            )
            api.hparams(dict(values), trial_id=trial)

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


def _rows(path: str) -> list[dict[str, float]]:
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        lines = file.read().split("\n")
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):  # cut short by a kill
            rows.append(json.loads(line))
    return rows


def _keep_rows(path: str, rows: list[dict[str, float]]) -> None:
    with explain_full_disk("the log", path):
        storage.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
