"""Scalars and pictures for TensorBoard, and the same scalars as JSON."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from groundwork import storage
from pipeline.process.disk_full import explain_full_disk
from pipeline.process.staging import Sender, forget, staged
from pipeline.training.objectives.class_scores import ClassScores

DEVICE_HOURS = "speed/device_hours"
GOODPUT = "speed/goodput"
SECONDS = "/seconds"
"""End of the name of what each evaluation has, the time that it took."""
COMPARED = (
    "eval/accuracy",
    "eval/mean_average_precision",
    "eval/loss",
    "train/loss",
    "speed/images_per_second",
)
"""Results beside the settings in TensorBoard's HParams tab."""
SHOWN_CLASSES = 20


class MetricsLog:
    """Writes `WORKDIR/tensorboard`, `WORKDIR/metrics.jsonl` and, where an image has any number of
    labels, `WORKDIR/class_scores`; on other than the chief, nothing.

    A run that resumes at a step drops the rows after it: it makes them again. What belongs into a
    bucket is sent when it is flushed: at each checkpoint, and at the end.

    Attributes:
        writes: whether this process is the one that writes.
        device_hours: spent by the earlier starts of the run, the steps that were lost included.
        useful_hours: of them, those of the steps that count.
        evaluated: names of the evaluations that the log holds of the step it begins with.
        evaluations: the rows of these.
    """

    def __init__(self, tensorboard: str, jsonl: str, start_step: int, write: bool = True):
        """Append to what is there up to `start_step`.

        Raises:
            DiskFull: as every method here, where there is no space left.
            StorageFault: the bucket cannot be reached.
        """
        self._home, self._jsonl = jsonl, staged(jsonl)
        self._senders = [Sender(path) for path in (tensorboard, jsonl)]
        self._writer = tf.summary.create_noop_writer()
        self.writes = write
        self.device_hours = self.useful_hours = 0.0
        rows = read_rows(jsonl)
        here = [row for row in rows if row["step"] == start_step]
        self.evaluations = [row for row in here if any(name.endswith(SECONDS) for name in row)]
        names = [name for row in self.evaluations for name in row if name.endswith(SECONDS)]
        self.evaluated = {name.removesuffix(SECONDS) for name in names}
        if write:
            self.device_hours = max((row.get(DEVICE_HOURS, 0.0) for row in rows), default=0.0)
            kept = [row for row in rows if row["step"] <= start_step]
            useful = [row[GOODPUT] * row[DEVICE_HOURS] for row in kept if GOODPUT in row]
            self.useful_hours = max(useful, default=0.0)
            for left in (tensorboard, jsonl):
                forget(left)
            with explain_full_disk("the log", self._jsonl):
                lines = (json.dumps(row) + "\n" for row in kept)
                storage.write_text(self._jsonl, "".join(lines))
                self._writer = tf.summary.create_file_writer(staged(tensorboard))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row: `values` by name, such as train/loss."""
        if not self.writes:
            return
        with self._writing(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            with Path(self._jsonl).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A uint8 picture `[height, width, 3]`."""
        with self._writing(step):
            tf.summary.image(name, pixels[None])

    def class_scores(self, step: int, scores: ClassScores, class_names: Sequence[str]) -> None:
        """How well each class is found, in a file of its own; for TensorBoard the worst ones."""
        if not self.writes:
            return
        rows = scores.rows(class_names)
        with explain_full_disk("the scores of the classes", self._jsonl):
            storage.write_text(class_scores_path(self._home, step), json.dumps(rows, indent=0))
        found = [row for row in rows if row["images"]]
        worst = sorted(found, key=lambda row: row["average_precision"])[:SHOWN_CLASSES]
        lines = ["| class | images | average precision | best F1 |", "|---|---:|---:|---:|"]
        lines += [
            f"| {row['name']} | {row['images']} | {row['average_precision']:.1%} "
            f"| {row['f1']:.1%} |"
            for row in worst
        ]
        self.text(step, "eval/classes", "\n".join(lines))

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
        for sender in self._senders if self.writes else ():
            sender.close()

    def flush(self) -> None:
        """Make what was written visible to readers."""
        with explain_full_disk("the log", self._jsonl):
            self._writer.flush()
        for sender in self._senders if self.writes else ():
            sender.send()

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        with explain_full_disk("the log", self._jsonl), self._writer.as_default(step=step):
            yield


def class_scores_path(jsonl: str, step: int) -> str:
    """Where the scores of the classes at a step lie, of the run whose metrics are in `jsonl`."""
    return posixpath.join(posixpath.dirname(jsonl), "class_scores", f"{step}.json")


def read_rows(path: str) -> list[dict[str, float]]:
    """Rows of the log `path`, in order; a line that was cut short or damaged is left out."""
    if not storage.exists(path):
        return []
    rows = []
    for line in storage.read(path).decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
    return rows
