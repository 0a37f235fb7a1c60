"""Adam with decoupled weight decay."""

from __future__ import annotations

import tensorflow as tf

from pipeline.training.optimizers.optimizer import Optimizer, Scalars, Slots, make_slot


class AdamW(Optimizer):
    """AdamW (Loshchilov & Hutter 2019); one update, with `t` updates finished before it:

        m ← β₁ · m + (1 − β₁) · gradient
        v ← β₂ · v + (1 − β₂) · gradient²
        variable ← variable − rate · √(1 − β₂ᵗ⁺¹) / (1 − β₁ᵗ⁺¹) · m / (√v + ε)

    which is what `keras.optimizers.AdamW` computes. With `moment_dtype` bfloat16, m is stored
    rounded and computed in float32, as `mu_dtype` of optax's Adam.
    """

    def _make_slots(self, variable: tf.Variable) -> Slots:
        return {
            "first_moment": make_slot(
                variable, "first_moment", dtype=tf.dtypes.as_dtype(self._config.moment_dtype)
            ),
            "second_moment": make_slot(variable, "second_moment"),
        }

    def _scalars(self, count: tf.Tensor) -> Scalars:
        return {
            "beta1_power": self._config.beta1**count,
            "beta2_power": self._config.beta2**count,
        }

    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        first, second = slots["first_moment"], slots["second_moment"]
        if first.dtype == variable.dtype:
            self._update_fused(variable, first, second, gradient, rate, scalars)
            return
        moment, squares = self._update_moments(slots, gradient)
        bias = tf.sqrt(1 - scalars["beta2_power"]) / (1 - scalars["beta1_power"])
        variable.assign_sub(rate * bias * moment / (tf.sqrt(squares) + self._config.epsilon))

    def _update_moments(self, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Both moments, in float32, the first before it is rounded to be stored."""
        first, second = slots["first_moment"], slots["second_moment"]
        beta1, beta2 = self._config.beta1, self._config.beta2
        moment = beta1 * tf.cast(first, tf.float32) + (1 - beta1) * gradient
        first.assign(tf.cast(moment, first.dtype))
        return moment, second.assign(beta2 * second + (1 - beta2) * tf.square(gradient))

    def _update_fused(
        self,
        variable: tf.Variable,
        first: tf.Variable,
        second: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            lr=rate,
            grad=gradient,
            beta1=self._config.beta1,
            beta2=self._config.beta2,
            epsilon=self._config.epsilon,
            beta1_power=scalars["beta1_power"],
            beta2_power=scalars["beta2_power"],
        )
