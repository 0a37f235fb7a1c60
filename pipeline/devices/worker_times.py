"""How long each worker takes for its own part of a step: which one the others wait for."""

from __future__ import annotations

import tensorflow as tf

from pipeline.devices.strategy import num_hosts

STRAGGLES = 1.25
"""Times the median of all, from which on a worker is named."""


class WorkerTimes:
    """Tells all workers the times of each; with one worker, nothing.

    The time of a whole step is the same on all, for they sum together. What differs is how long a
    worker waits for its input, and computes until it has gradients to give.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._workers = num_hosts(strategy)
        self._gather = tf.function(self._gather_all)
        self._named: int | None = None

    def scalars(self, step_seconds: float, input_seconds: float) -> dict[str, float]:
        """Means of a step, of each worker by its number; all workers have to ask together.

        Args:
            step_seconds: that this worker took to compute its share of a step.
            input_seconds: that it waited for its input; 0 where that is not known.
        """
        if self._workers == 1:
            return {}
        own = tf.constant([[step_seconds, input_seconds]], tf.float32)
        rows = self._gather(own).numpy().reshape(self._workers, -1, 2)[:, 0].tolist()
        return {
            f"workers/{worker}_{name}": seconds
            for worker, times in enumerate(rows)
            for name, seconds in zip(("step_seconds", "input_seconds"), times, strict=True)
        }

    def straggler(self, scalars: dict[str, float]) -> str | None:
        """A line on the worker that takes longest, where it is far behind and was not yet named."""
        times = [
            scalars[f"workers/{worker}_step_seconds"] + scalars[f"workers/{worker}_input_seconds"]
            for worker in range(self._workers if scalars else 0)
        ]
        if not times:
            return None
        median = sorted(times)[(len(times) - 1) // 2]
        slowest = max(range(len(times)), key=lambda worker: times[worker])
        if times[slowest] < STRAGGLES * median:
            self._named = None
            return None
        if slowest == self._named:
            return None
        self._named = slowest
        waits = scalars[f"workers/{slowest}_input_seconds"]
        return (
            f"the others wait for worker {slowest}: {times[slowest]:.3g} s for its part of a step "
            f"({waits:.3g} s of it for input), against {median:.3g} s in the median"
        )

    def _gather_all(self, own: tf.Tensor) -> tf.Tensor:
        def of_replica(value: tf.Tensor) -> tf.Tensor:
            # The copy has a device, by which TensorFlow finds where to gather.
            return tf.distribute.get_replica_context().all_gather(tf.identity(value), axis=0)

        gathered = self._strategy.run(of_replica, args=(own,))
        return self._strategy.experimental_local_results(gathered)[0]
