"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import tensorflow as tf

from pipeline.training.optimizers.optimizer import Optimizer, Scalars, Slots, make_slot


class MomentumOptimizer(Optimizer):
    """Keeps a velocity of each variable, unless `momentum` is 0."""

    def _make_slots(self, variable: tf.Variable) -> Slots:
        if not self._config.momentum:
            return {}
        dtype = tf.dtypes.as_dtype(self._config.moment_dtype)
        return {"velocity": make_slot(variable, "velocity", dtype=dtype)}

    def _accumulate(self, slots: Slots, direction: tf.Tensor, share: float) -> tf.Tensor:
        """velocity ← momentum · velocity + share · direction; returns it in float32.

        Stored in `moment_dtype`, but returned as computed.
        """
        if not self._config.momentum:
            return direction
        stored = slots["velocity"]
        velocity = self._config.momentum * tf.cast(stored, tf.float32) + share * direction
        stored.assign(tf.cast(velocity, stored.dtype))
        return velocity


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
