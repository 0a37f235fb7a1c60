"""Seeds of everything random: functions of (seed of the run, stream, index)."""

from __future__ import annotations

import tensorflow as tf

STREAMS = 2_000_003
"""A prime above any number of epochs or streams: seeds of a run never meet another run's."""


def derived_seed(seed: int, stream: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """A seed for TensorFlow's stateless functions, int64 `[2]`.

    Args:
        seed: of the run.
        stream: int64 scalar, such as an epoch.
        index: int64 scalar within it, such as a record.
    """
    return tf.stack([tf.constant(seed, tf.int64) * STREAMS + stream, index])
