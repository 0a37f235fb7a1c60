"""The steps between two rows of the log: their metrics and where their time went."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from pipeline.errors import TrainingDiverged
from pipeline.training.train_step import Metrics, TrainStep


class StepWindow:
    """Runs steps and keeps their metrics on the device until they are asked for."""

    def __init__(self, first_step: int, batch_size: int):
        """Count steps from `first_step` on, the number of finished ones."""
        self._first_step = first_step
        self._batch_size = batch_size
        self._pending: list[Metrics] = []
        self._rows: list[dict[str, float]] = []
        self._wait_seconds = 0.0
        self._seconds = 0.0

    def run_step(self, batches: Iterator, train_step: TrainStep) -> tuple[tf.Tensor, ...]:
        """Take a batch and train on it; returns the batch."""
        started = time.monotonic()
        batch = next(batches)
        self._wait_seconds += time.monotonic() - started
        self._pending.append(train_step(*batch))
        self._seconds += time.monotonic() - started
        return batch

    def check(self) -> None:
        """Wait until the device has finished the steps.

        Raises:
            TrainingDiverged: the loss or the gradient's norm of one is not finite; names the step.
        """
        started = time.monotonic()
        for metrics in self._pending:
            row = {name: float(value) for name, value in metrics.items()}
            self._rows.append(row)
            if not (math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"])):
                raise TrainingDiverged(
                    f"step {self._first_step + len(self._rows)}: loss {row['loss']:g}, gradient "
                    f"norm {row['gradient_norm']:g} at learning rate {row['learning_rate']:.3g}"
                )
        self._pending = []
        self._seconds += time.monotonic() - started

    def summary(self) -> dict[str, float]:
        """Means over the steps; the learning rate of the last one.

        Raises:
            TrainingDiverged: as `check`.
        """
        self.check()
        means = {
            f"train/{name}": float(np.mean([row[name] for row in self._rows]))
            for name in ("loss", "accuracy", "gradient_norm")
        }
        seconds = max(self._seconds, 1e-9)
        return means | {
            "train/learning_rate": self._rows[-1]["learning_rate"],
            "speed/images_per_second": len(self._rows) * self._batch_size / seconds,
            "speed/step_seconds": seconds / len(self._rows),
            "speed/input_wait_share": self._wait_seconds / seconds,
        }
