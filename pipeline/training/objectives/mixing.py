"""MixUp and CutMix inside the train step, the same on any number of replicas and microbatches.

Two neighbors of the global batch form a pair, and each takes part of the other's image: how much is
`Mixing` (`pipeline.data.batches.mixing_draw`). big_vision rolls the batch by one place instead, so
that each image meets another partner on either side; which partner that is depends on how the batch
is cut into devices. Here every cut into parts of even size keeps the pairs, and `train_batches`
lays them out so that every number of hosts does too.
"""

from __future__ import annotations

import tensorflow as tf


def mix_images(images: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    """Mix `[batch, height, width, 3]`, of even batch, pair by pair."""
    return keep * images + (1.0 - keep) * swap_pairs(images)


def swap_pairs(values: tf.Tensor) -> tf.Tensor:
    """Put each value in the place of its partner: `[batch, ...]`, of even batch."""
    pairs = tf.reshape(values, [-1, 2, *values.shape[1:]])
    return tf.reshape(pairs[:, ::-1], tf.shape(values))
