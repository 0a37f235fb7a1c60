"""The steps between two rows of the log: their metrics and where their time went."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from groundwork.errors import InputFailed, TrainingDiverged
from pipeline.process.failed_input import failed_input, reason
from pipeline.process.interruptible import InterruptibleIterator
from pipeline.process.watchdog import Watchdog
from pipeline.training.loop.step_loop import StepLoop
from pipeline.training.state.loss_scale import FLOOR
from pipeline.training.step.train_step import OWN_SECONDS, Metrics, TrainStep

Batch = tuple[tf.Tensor, ...]
"""Distributed images, labels and seeds."""
SETTINGS = ("learning_rate", "loss_scale")
"""Metrics of which the last value counts, not the mean."""


class StepWindow:
    """Runs steps and keeps their metrics on the device until they are asked for."""

    def __init__(self, first_step: int, batch_size: int, watchdog: Watchdog):
        """Count steps from `first_step` on, the number of finished ones."""
        self._batch_size = batch_size
        self._watchdog = watchdog
        self.restart(first_step)

    @property
    def seconds(self) -> float:
        """That the steps took, but for those of `forget_time`."""
        return self._seconds

    def restart(self, first_step: int) -> None:
        """Begin a new row after `first_step` finished steps."""
        self._first_step = first_step
        self._pending: list[Metrics] = []
        self._rows: list[dict[str, float]] = []
        self._wait_seconds: float | None = 0.0  # None: not known
        self._seconds = 0.0
        self._untimed = 0  # steps

    def run_step(self, batches: Iterator[Batch], train_step: TrainStep) -> Batch:
        """Take a batch and train on it; returns the batch.

        Raises:
            InputFailed: there is no batch; nothing was trained.
        """
        started = time.monotonic()
        step = self._first_step + len(self._rows) + len(self._pending) + 1
        self._watchdog.at(f"the input of step {step}")
        try:
            batch = next(batches)
        except tf.errors.OpError as error:
            raise InputFailed(reason(error)) from error
        if self._wait_seconds is not None:
            self._wait_seconds += time.monotonic() - started
        self._watchdog.at(f"step {step} or its collectives")
        self._pending.append(train_step(*batch))
        self._seconds += time.monotonic() - started
        return batch

    def run_steps(
        self, batches: InterruptibleIterator[Batch], step_loop: StepLoop, count: int
    ) -> None:
        """Take `count` batches and train on them.

        Raises:
            InputFailed: there is no batch; how many steps were trained, or begun, is not known.
        """
        started = time.monotonic()
        self._watchdog.at(f"{count} steps, their input or collectives")
        try:
            self._pending.append(batches.run(lambda inner: step_loop(inner, count)))
        except tf.errors.OpError as error:
            raise failed_input(error) from error
        self._wait_seconds = None
        self._seconds += time.monotonic() - started

    def check(self) -> None:
        """Wait until the device has finished the steps.

        Raises:
            TrainingDiverged: the loss or the gradient's norm of one is not finite; names the step.
        """
        started = time.monotonic()
        self._watchdog.at("steps under way or their collectives")
        for row in (row for metrics in self._pending for row in _rows(metrics)):
            self._rows.append(row)
            if not math.isfinite(row["loss"]) or (
                # With a scaled loss the step was skipped, and the next one scales less.
                not math.isfinite(row["gradient_norm"]) and row.get("loss_scale", FLOOR) <= FLOOR
            ):
                raise TrainingDiverged(
                    f"step {self._first_step + len(self._rows)}: loss {row['loss']:g}, gradient "
                    f"norm {row['gradient_norm']:g} at learning rate {row['learning_rate']:.3g}"
                )
        self._pending = []
        self._seconds += time.monotonic() - started

    def forget_time(self) -> float:
        """Leave the steps so far out of the speeds, as compiling is no guide; tells their seconds.

        Raises:
            TrainingDiverged: as `check`.
        """
        self.check()
        seconds = self._seconds
        self._untimed, self._seconds, self._wait_seconds = len(self._rows), 0.0, 0.0
        return seconds

    def summary(self) -> dict[str, float]:
        """Means over the steps, of what is finite; learning rate and loss scale of the last one.

        Raises:
            TrainingDiverged: as `check`.
        """
        self.check()
        values = {}
        for name, latest in self._rows[-1].items():
            finite = [row[name] for row in self._rows if math.isfinite(row[name])]
            if name == OWN_SECONDS:
                continue
            if name in SETTINGS:
                values[f"train/{name}"] = latest
            elif finite:
                values[f"train/{name}"] = float(np.mean(finite))
        steps = len(self._rows) - self._untimed
        if not steps:
            return values
        seconds = max(self._seconds, 1e-9)
        values |= {
            "speed/images_per_second": steps * self._batch_size / seconds,
            "speed/step_seconds": seconds / steps,
        }
        if self._wait_seconds is not None:
            values["speed/input_wait_share"] = self._wait_seconds / seconds
        return values

    def own_seconds(self) -> tuple[float, float]:
        """Means over the timed steps: until this worker had its share of the gradient, and waiting
        for input, 0 where that is not known."""
        own = [row.get(OWN_SECONDS, 0.0) for row in self._rows[self._untimed :]]
        wait = (self._wait_seconds or 0.0) / max(1, len(own))
        return float(np.mean(own)) if own else 0.0, wait


def _rows(metrics: Metrics) -> list[dict[str, float]]:
    """Metrics of one step, or of each of several."""
    columns = [np.atleast_1d(value.numpy()).tolist() for value in metrics.values()]
    return [dict(zip(metrics, row, strict=True)) for row in zip(*columns, strict=True)]
