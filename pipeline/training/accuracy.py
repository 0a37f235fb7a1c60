"""Right answers: first choice, and among the first five."""

from __future__ import annotations

import tensorflow as tf

CLASSES_FOR_TOP5 = 6
"""With fewer classes every answer is among the first five, or nearly every one."""


def hits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether each label is the first choice, and whether it is among the first five.

    Equal logits go by rising class, as in `tf.argmax` and `tf.math.top_k`; these, as
    `tf.math.in_top_k`, XLA does not compile everywhere.

    Args:
        logits: float `[batch, classes]`.
        labels: int `[batch]`.

    Returns:
        float32 `[batch, 2]`, 0 or 1.
    """
    classes = tf.range(logits.shape[-1], dtype=labels.dtype)
    own = tf.gather(logits, labels, batch_dims=1)[:, None]
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    rank = tf.reduce_sum(tf.cast(before, tf.int32), axis=-1)
    first = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
    return tf.cast(tf.stack([first, rank < 5], axis=-1), tf.float32)


def accuracies(right: tf.Tensor, count: float, num_classes: int) -> dict[str, tf.Tensor]:
    """Summed `hits` `[2]` of `count` examples as metrics by name."""
    shares = {"accuracy": right[0] / count}
    if num_classes >= CLASSES_FOR_TOP5:
        shares["accuracy_top5"] = right[1] / count
    return shares
