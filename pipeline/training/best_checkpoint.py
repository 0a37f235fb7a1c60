"""The checkpoint of the evaluation that was best so far, restarts included."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from pipeline.training.checkpoint import DAMAGED, write_checkpoint
from pipeline.training.train_state import TrainState


class BestCheckpoint:
    """Keeps one checkpoint, with the value that made it the best.

    The value is a variable of the checkpoint itself: the two cannot disagree after a kill.
    """

    def __init__(self, state: TrainState, folder: str, metric: str, write: bool = True):
        """Go on from the checkpoint in `folder`, if there is one that was best by `metric`.

        Args:
            state: what is saved.
            folder: for this checkpoint alone.
            metric: eval/loss (lower is better) or another one (higher is better).
            write: whether to save; only the chief does.
        """
        self._state = state
        self._metric = metric
        self._sign = -1.0 if metric.endswith("loss") else 1.0
        name = "best_" + metric.replace("/", "_")
        self._value = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        checkpoint = state.trackable()
        setattr(checkpoint, name, self._value)
        self._manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1)
        self._write = write
        self.value = _stored_value(self._manager.latest_checkpoint, name)

    def offer(self, metrics: Mapping[str, float]) -> bool:
        """Save the state if its `metrics` are better than all before; tells whether they are.

        Raises:
            DiskFull: it could not be written; the best one before it is kept.
        """
        value = metrics[self._metric]
        if self.value is not None and not self._sign * value > self._sign * self.value:
            return False
        self.value = value
        if self._write:
            self._value.assign(value)
            write_checkpoint(self._manager, int(self._state.step.numpy()))
        return True


def _stored_value(path: str | None, name: str) -> float | None:
    """The value of `name` in a checkpoint; None without one, or where it is of another metric."""
    if path is None:
        return None
    try:
        reader = tf.train.load_checkpoint(path)
        key = f"{name}/.ATTRIBUTES/VARIABLE_VALUE"
        return float(reader.get_tensor(key)) if reader.has_tensor(key) else None
    except DAMAGED as error:
        print(f"best checkpoint {path} is damaged ({type(error).__name__}); the next one counts")
        return None
