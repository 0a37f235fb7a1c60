"""LAMB as DeiT III trains with it."""

from __future__ import annotations

import tensorflow as tf

from pipeline.training.optimizers.adamw import AdamW
from pipeline.training.optimizers.optimizer import Scalars, Slots


class Lamb(AdamW):
    """LAMB (arXiv 1904.00962) in the variant of NVIDIA's FusedLAMB and of timm; one update, with
    AdamW's moments m and v, bias-corrected:

        direction ← m / (√v + ε) + weight_decay · variable
        ratio ← ‖variable‖ / ‖direction‖, but 1 where either is 0 or the weight does not decay
        variable ← variable − rate · ratio · direction

    So the weight decay is part of what the trust ratio scales, and biases and norms learn as by
    Adam. Keras' LAMB decays beside the ratio, and scales every weight.
    """

    decays_first = False

    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        moment, squares = self._update_moments(slots, gradient)
        mean = moment / (1 - scalars["beta1_power"])
        root = tf.sqrt(squares / (1 - scalars["beta2_power"]))
        direction = mean / (root + self._config.epsilon)
        if scalars["weight_decay"]:
            direction += scalars["weight_decay"] * variable
            lengths = tf.norm(variable), tf.norm(direction)
            ratio = tf.math.divide_no_nan(*lengths)
            rate *= tf.where(ratio > 0, ratio, 1.0)
        variable.assign_sub(rate * direction)
