"""Gradient and metrics of the global batch, from the replicas' shares of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from pipeline.data.batches.batch_options import BatchOptions
from pipeline.data.images.preprocess import to_model_range
from pipeline.training.objectives.objective import Objective
from pipeline.training.state.train_state import TrainState

BUCKETS = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=32 * 1024**2)
"""Gradients go in buckets of this size at least, last layers first: the sum over the workers of one
begins while others are computed, and none holds a copy of all gradients."""


class BatchGradient(NamedTuple):
    """Of the global batch, the same on every replica.

    Attributes:
        gradients: of the mean loss, by the variables of the state.
        loss: mean, float32 scalar.
        hits: sums, float32 `[num_hits]`.
    """

    gradients: list[tf.Tensor]
    loss: tf.Tensor
    hits: tf.Tensor


def make_batch_gradient(
    state: TrainState, options: BatchOptions, objective: Objective, *, jit_compile: bool
) -> Callable[..., BatchGradient]:
    """A function of a replica's images, labels, seeds and perhaps `Mixing`, to run in a replica."""
    gradients_of_share = tf.function(
        lambda *batch: _accumulate(state, options, objective, *batch), jit_compile=jit_compile
    )

    def batch_gradient(*batch: tf.Tensor) -> BatchGradient:
        gradients, loss, hits = gradients_of_share(*batch)
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1:
            *gradients, loss, hits = replica.all_reduce(
                tf.distribute.ReduceOp.SUM, [*gradients, loss, hits], options=BUCKETS
            )
        if state.loss_scale is not None:
            gradients = [gradient / state.loss_scale.scale for gradient in gradients]
        return BatchGradient(gradients, loss, hits)

    return batch_gradient


def _accumulate(
    state: TrainState,
    options: BatchOptions,
    objective: Objective,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    *mixing: tf.Tensor,
) -> BatchGradient:
    """Sums over the microbatches of one replica."""
    if options.accumulate == 1:
        return _microbatch(state, options, objective, images, labels, seeds, *mixing)
    count = options.accumulate
    images = tf.reshape(images, [count, -1, *images.shape[1:]])
    labels, seeds = (tf.reshape(v, [count, -1, *v.shape[1:]]) for v in (labels, seeds))

    def add(index: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        gradients, loss, hits = _microbatch(
            state, options, objective, images[index], labels[index], seeds[index], *mixing
        )
        return index + 1, *(
            total + term for total, term in zip(sums, [*gradients, loss, hits], strict=True)
        )

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in state.variables]
    start = (tf.constant(0), *zeros, tf.constant(0.0), tf.zeros(objective.num_hits))
    _, *gradients, loss, hits = tf.while_loop(
        lambda index, *_: index < count, add, start, maximum_iterations=count
    )
    return BatchGradient(gradients, loss, hits)


def _microbatch(
    state: TrainState,
    options: BatchOptions,
    objective: Objective,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    *mixing: tf.Tensor,
) -> BatchGradient:
    if images.dtype == tf.uint8:
        images = to_model_range(images)
    with tf.GradientTape() as tape:
        losses, hits = objective.training_scores(state.model, images, labels, seeds, *mixing)
        loss = tf.reduce_sum(losses) / options.batch_size
        scaled = loss if state.loss_scale is None else loss * state.loss_scale.scale
    gradients = tape.gradient(
        scaled, state.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return BatchGradient(gradients, loss, tf.reduce_sum(hits, axis=0))
