"""Whether all workers of a run do the same: where they do not, all end, before any harm is done.

Gradients of different weights can be averaged, and nothing would fail. So the workers compare
what they were given, where they stand and what their weights are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from groundwork.errors import JobError

NAMED = 5


def check_workers_agree(
    strategy: tf.distribute.Strategy, facts: Mapping[str, str | int], remedy: str
) -> None:
    """Compare `facts` over all workers of `strategy`; with one worker, nothing.

    It costs one small all-gather, which all workers have to take part in.

    Args:
        strategy: of the run.
        facts: by name; every worker has the same names. Numbers are told in the message.
        remedy: what to do where they differ.

    Raises:
        JobError: on all workers alike; names the workers that differ from the first, and in what.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    workers = strategy.cluster_resolver.cluster_spec().as_dict()["worker"]
    own = tf.constant([[_number(value) for value in facts.values()]], tf.int64)
    gathered = _gather(strategy, own).numpy()
    by_worker = gathered.reshape(len(workers), -1, len(facts))[:, 0]  # a worker's replicas agree
    if (by_worker == by_worker[0]).all():
        return
    told = "; ".join(
        f"worker {index} ({workers[index]}) differs from worker 0 in "
        f"{_differences(facts, by_worker[0], by_worker[index])}"
        for index in np.flatnonzero((by_worker != by_worker[0]).any(axis=1))
    )
    raise JobError(f"{told}: {remedy}")


def _gather(strategy: tf.distribute.Strategy, own: tf.Tensor) -> tf.Tensor:
    """`own` `[1, facts]` of every replica, as `[replicas, facts]`."""

    def of_replica(value: tf.Tensor) -> tf.Tensor:
        # The copy has a device, by which TensorFlow finds where to gather.
        return tf.distribute.get_replica_context().all_gather(tf.identity(value), axis=0)

    gathered = tf.function(lambda value: strategy.run(of_replica, args=(value,)))(own)
    return strategy.experimental_local_results(gathered)[0]


def _number(value: str | int) -> int:
    if isinstance(value, int):
        return value
    return int.from_bytes(hashlib.sha256(value.encode()).digest()[:8], "big", signed=True)


def _differences(facts: Mapping[str, str | int], expected: np.ndarray, found: np.ndarray) -> str:
    differing = [
        name + (f" ({there}, not {here})" if isinstance(value, int) else "")
        for (name, value), here, there in zip(facts.items(), expected, found, strict=True)
        if here != there
    ]
    more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
    return ", ".join(differing[:NAMED]) + more
