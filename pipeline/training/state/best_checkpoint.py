"""The checkpoint of the evaluation that was best so far, restarts included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from pipeline.training.state.checkpoint import DAMAGED
from pipeline.training.state.checkpoint_files import checkpoints_in, local_checkpoint, step_of
from pipeline.training.state.checkpoint_writer import CheckpointWriter
from pipeline.training.state.train_state import VALUE, TrainState

BEST = "best_"


class BestCheckpoint:
    """Keeps one checkpoint, with the value that made it the best.

    The value is a variable of the checkpoint itself: the two cannot disagree after a kill.

    Attributes:
        value: of the best evaluation; None before the first one.
        step: of the best evaluation; None before the first one.
    """

    def __init__(self, state: TrainState, folder: str, metric: str, write: bool = True):
        """Go on from the checkpoint in `folder`, if there is one that was best by `metric`.

        Args:
            state: what is saved.
            folder: for this checkpoint alone.
            metric: eval/loss or another loss (lower is better), or what is no loss (higher is
                better).
            write: whether to save; only the chief does.
        """
        self._state = state
        self._metric = metric
        self._sign = -1.0 if metric.endswith("loss") else 1.0
        self._name = name = _name(metric)
        self._writer = CheckpointWriter(state, folder, keep=1) if write else None
        paths = checkpoints_in(folder)
        self.value = _stored_value(paths, name)
        self.step = None if self.value is None else step_of(paths[-1])

    def offer(self, metrics: Mapping[str, float]) -> bool:
        """Save the state if its `metrics` are better than all before; tells whether they are.

        Those of an evaluation that has not the metric are not.

        Raises:
            DiskFull: the save before could not be written; the best one before that is kept.
        """
        value = metrics.get(self._metric)
        if value is None:
            return False
        if self.value is not None and not self._sign * value > self._sign * self.value:
            return False
        self.value, self.step = value, int(self._state.step.numpy())
        if self._writer:
            self._writer.save(self.step, **{self._name: value})
        return True

    def wait(self) -> None:
        """Wait until what was saved is written; raises as `offer`."""
        if self._writer:
            self._writer.wait()


def stored_score(folder: str) -> tuple[str, float] | None:
    """Metric and value of the checkpoint that lies in `folder`; None: not recorded."""
    for path in checkpoints_in(folder)[-1:]:
        with local_checkpoint(path) as local:
            reader = tf.train.load_checkpoint(local)
            for key in reader.get_variable_to_shape_map():
                if key.startswith(BEST) and key.endswith(VALUE):
                    name = key.removeprefix(BEST).removesuffix(VALUE)
                    return name.replace("_", "/", 1), float(reader.get_tensor(key))
    return None


def _name(metric: str) -> str:
    return BEST + metric.replace("/", "_")  # the name of an evaluation has no underscore


def _stored_value(paths: Sequence[str], name: str) -> float | None:
    """The newest one's value of `name`; None without one, or where it is of another metric."""
    if not paths:
        return None
    path = paths[-1]
    try:
        with local_checkpoint(path) as local:
            reader = tf.train.load_checkpoint(local)
            key = name + VALUE
            return float(reader.get_tensor(key)) if reader.has_tensor(key) else None
    except DAMAGED as error:
        print(f"best checkpoint {path} is damaged ({type(error).__name__}); the next one counts")
        return None
