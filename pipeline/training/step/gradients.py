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
        gradients: of the mean loss, by the variables of the state; of the scaled loss, where the
            state scales it, and in the type of `BatchOptions.sum_precision`.
        loss: mean, float32 scalar.
        hits: sums, float32 `[num_hits]`.
        seconds: that this replica took before it had its share to give, float32 scalar; None: not
            asked for.
    """

    gradients: list[tf.Tensor]
    loss: tf.Tensor
    hits: tf.Tensor
    seconds: tf.Tensor | None = None


def make_batch_gradient(
    state: TrainState,
    options: BatchOptions,
    objective: Objective,
    *,
    jit_compile: bool,
    timed: bool = False,
) -> Callable[..., BatchGradient]:
    """A function of a replica's images, labels, seeds and perhaps `Mixing`, to run in a replica.

    `timed` tells the time that it takes up to the all-reduce, where replicas wait for each other.
    """
    sum_type = tf.dtypes.as_dtype(options.sum_precision)

    def share(*batch: tf.Tensor) -> BatchGradient:
        found = _accumulate(state, options, objective, *batch)
        return found._replace(gradients=[tf.cast(one, sum_type) for one in found.gradients])

    gradients_of_share = tf.function(share, jit_compile=jit_compile)

    def batch_gradient(*batch: tf.Tensor) -> BatchGradient:
        _, labels, *_ = batch
        begun = _time_after(labels[:1]) if timed else None
        with tf.control_dependencies([begun] if timed else []):
            gradients, loss, hits, _ = gradients_of_share(*batch)
        seconds = tf.cast(_time_after(loss) - begun, tf.float32) if timed else None
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1:
            gradients, loss, hits = _sum_over_replicas(replica, gradients, loss, hits)
        return BatchGradient(gradients, loss, hits, seconds)

    return batch_gradient


def _sum_over_replicas(
    replica: tf.distribute.ReplicaContext, gradients: list[tf.Tensor], *rest: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    def summed(values: list[tf.Tensor]) -> list[tf.Tensor]:
        sums: list[tf.Tensor]
        sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, values, options=BUCKETS)
        return sums

    if gradients[0].dtype != rest[0].dtype:  # a bucket is of one type
        loss, hits = summed([*rest])
        return summed(gradients), loss, hits
    *gradients, loss, hits = summed([*gradients, *rest])
    return gradients, loss, hits


def _time_after(value: tf.Tensor) -> tf.Tensor:
    """The host's clock, float64 seconds, as soon as it has `value`, which should be small."""
    with tf.device("CPU:0"), tf.control_dependencies([tf.identity(value)]):
        return tf.timestamp()


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
        gradients, loss, hits, _ = _microbatch(
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
