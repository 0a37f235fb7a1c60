"""The other workers of a run: coming to the end with them, and what is said when one is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context  # the coordination service has no public interface

from groundwork.errors import InputFailed, WorkerLost, one_line

LOST = (tf.errors.UnavailableError, tf.errors.AbortedError)
BARRIER = "end_of_run"


@contextlib.contextmanager
def explain_lost_worker(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Within it, what TensorFlow says when another worker is gone becomes a WorkerLost."""
    try:
        yield
    except (tf.errors.OpError, InputFailed) as error:
        cause = error.__cause__ if isinstance(error, InputFailed) else error
        if not (_are_several(strategy) and isinstance(cause, LOST)):
            raise
        reason = one_line(cause, None).rpartition("ollective ops is aborted by: ")[2]
        raise WorkerLost(
            f"another worker of this run is gone ({reason[:200]}): see what it printed, and start "
            "all of them again: the run goes on from the newest checkpoint"
        ) from error


def end_together(strategy: tf.distribute.Strategy, limit_seconds: float) -> None:
    """Wait until every worker has come here; with one worker, not at all.

    The first one comes last, after its checkpoint, export and evaluation. Were the others to end
    before, its TensorFlow would take them for crashed. The wait ends when a worker dies, which
    TensorFlow's heartbeats tell within seconds, and after `limit_seconds` at the latest.

    Raises:
        WorkerLost: one has died, or has not come in time.
    """
    if not _are_several(strategy):
        return
    with explain_lost_worker(strategy):
        try:
            context.context().wait_at_barrier(BARRIER, round(limit_seconds * 1000))
        except tf.errors.OpError as error:
            raise tf.errors.UnavailableError(None, None, error.message) from error


def _are_several(strategy: tf.distribute.Strategy) -> bool:
    return bool(strategy.extended._in_multi_worker_mode())
