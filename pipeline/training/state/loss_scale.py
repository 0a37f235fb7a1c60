"""Dynamic loss scaling: gradients of float16 neither vanish nor overflow."""

from __future__ import annotations

import tensorflow as tf

INITIAL_SCALE = 2.0**15
FLOOR = 1.0
GROWTH_STEPS = 2000


class LossScale:
    """The factor of the loss, whose gradient is divided by it again (arXiv 1710.03740).

    A step whose gradient overflows changes no weight, and halves the scale, down to 1; after 2,000
    steps without overflow it doubles. Whether there is an overflow is asked of the gradient of the
    global batch, so all replicas agree. Create it under the strategy's scope.

    Attributes:
        scale: float32.
        finite_steps: int64, since the scale last changed.
        skipped_steps: int64, in which no weight changed.
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(INITIAL_SCALE, trainable=False, name="loss_scale")
        self.finite_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.skipped_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def variables(self) -> dict[str, tf.Variable]:
        """What a checkpoint keeps."""
        return {
            "scale": self.scale,
            "finite_steps": self.finite_steps,
            "skipped_steps": self.skipped_steps,
        }

    def update(self, finite: tf.Tensor) -> None:
        """Count a step whose gradient was `finite`, bool scalar; outside of the replicas."""
        grows = finite & (self.finite_steps + 1 >= GROWTH_STEPS)
        kept = tf.where(grows, 2.0 * self.scale, self.scale)
        self.scale.assign(tf.where(finite, kept, tf.maximum(FLOOR, self.scale / 2.0)))
        counted = tf.where(finite & ~grows, self.finite_steps + 1, tf.zeros_like(self.finite_steps))
        self.finite_steps.assign(counted)
        self.skipped_steps.assign_add(tf.cast(~finite, tf.int64))
