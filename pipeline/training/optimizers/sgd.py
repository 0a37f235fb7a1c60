"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import tensorflow as tf

from pipeline.training.optimizers.momentum import MomentumOptimizer
from pipeline.training.optimizers.optimizer import Scalars, Slots


class SGD(MomentumOptimizer):
    """SGD with momentum, as the paper fine-tunes (section 4.1); one update:

        velocity ← momentum · velocity + gradient
        variable ← variable − rate · velocity

    which is what `keras.optimizers.SGD` computes at a constant rate.
    """

    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        variable.assign_sub(rate * self._accumulate(slots, gradient, 1.0))
