"""What a model computes of every image of a split, on the host, whatever number of replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.devices.strategy import num_hosts
from pipeline.training.state.train_state import TrainState

Outputs = Callable[[Iterable[tuple[tf.Tensor, ...]]], list[NDArray[Any]]]
"""Distributed evaluation batches to arrays `[examples, ...]`, in the order of the split."""


def make_outputs(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    output: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
    num_examples: int,
    *,
    jit_compile: bool,
) -> Outputs:
    """Compile `output` of `state`'s model, with averaged weights where the run keeps them.

    Args:
        strategy: that the state lives on.
        state: of the model that `output` calls.
        output: images `[batch, height, width, 3]` and labels `[batch, ...]` of a replica to tensors
            `[batch, ...]`.
        num_examples: of the split.
        jit_compile: whether XLA compiles it.

    Raises:
        RuntimeError: the batches did not hold `num_examples` images.
    """
    compiled = tf.function(output, jit_compile=jit_compile)
    hosts = num_hosts(strategy)

    def of_replica(images: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        replica = tf.distribute.get_replica_context()
        # The copies have a device, by which TensorFlow finds where to gather.
        values = [tf.identity(value) for value in (*compiled(images, labels), mask)]
        return [replica.all_gather(value, axis=0) for value in values]

    def of_batch(*batch: tf.Tensor) -> list[tf.Tensor]:
        per_replica = strategy.run(of_replica, args=batch)
        return [strategy.experimental_local_results(value)[0] for value in per_replica]

    gathered = tf.function(of_batch)

    def in_order(parts: list[NDArray[Any]]) -> NDArray[Any]:
        """Each batch holds a piece of every host's part of the split, one after another."""
        by_host = np.stack([part.reshape(hosts, -1, *part.shape[1:]) for part in parts], axis=1)
        return by_host.reshape(-1, *by_host.shape[3:])

    def outputs(batches: Iterable[tuple[tf.Tensor, ...]]) -> list[NDArray[Any]]:
        with state.averaged_weights():
            parts = [[value.numpy() for value in gathered(*batch)] for batch in batches]
        *values, mask = (in_order(list(column)) for column in zip(*parts, strict=True))
        if mask.sum() != num_examples:
            raise RuntimeError(f"evaluated {mask.sum():.0f} images of {num_examples}")
        return [value[mask > 0] for value in values]

    return outputs
