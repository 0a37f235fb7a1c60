"""Cross-entropy per example."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf


def cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    kind: Literal["softmax", "sigmoid"],
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """Loss of each example, in nats.

    Args:
        logits: float `[batch, classes]`; computed in float32.
        labels: int `[batch]`.
        kind: softmax over the classes, or the sum over classes of sigmoid cross-entropies (paper,
            ImageNet-21k and JFT).
        label_smoothing: share of the target spread evenly over all classes.

    Returns:
        float32 `[batch]`.
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes)
    targets = targets * (1 - label_smoothing) + label_smoothing / classes
    if kind == "sigmoid":
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        return tf.reduce_sum(losses, axis=-1)
    return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)
