"""AdamW whose gradients are summed over the replicas before it sees them."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from pipeline.config import OptimConfig


class AdamW(tf.Module):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), on kernels only.

    One update at learning rate `lr`, with `t` updates finished before it:

        kernel ← kernel · (1 − lr · weight_decay)
        variable ← variable − lr · √(1 − β₂ᵗ⁺¹) / (1 − β₁ᵗ⁺¹) · m / (√v + ε)

    which is what `keras.optimizers.AdamW` computes. Unlike Keras' it takes gradients that are
    already summed over the replicas, so that what comes between the sum and the update (clipping,
    checks) sees the gradient of the whole global batch.

    Create it under the strategy's scope.
    """

    def __init__(
        self, variables: Sequence[tf.Variable], decayed: Sequence[bool], config: OptimConfig
    ):
        """Make the moments of `variables`; `decayed` tells which of them are kernels."""
        super().__init__()
        self._config = config
        self._decayed = list(decayed)
        self._variables = list(variables)
        self.first_moments = [_zeros_like(variable) for variable in variables]
        self.second_moments = [_zeros_like(variable) for variable in variables]

    def apply(
        self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor, step: tf.Tensor
    ) -> None:
        """Update the variables, from within a replica.

        Args:
            gradients: of the global batch: the same on every replica.
            learning_rate: float32 scalar.
            step: updates finished before this one, integer scalar.
        """
        count = tf.cast(step + 1, tf.float32)
        powers = (self._config.beta1**count, self._config.beta2**count)
        replica = tf.distribute.get_replica_context()
        replica.merge_call(self._update_all, args=(list(gradients), learning_rate, *powers))

    def _update_all(
        self,
        strategy: tf.distribute.Strategy,
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        beta1_power: tf.Tensor,
        beta2_power: tf.Tensor,
    ) -> None:
        scalars = (learning_rate, beta1_power, beta2_power)
        for variable, first, second, gradient, decayed in zip(
            self._variables,
            self.first_moments,
            self.second_moments,
            gradients,
            self._decayed,
            strict=True,
        ):
            update = self._update_kernel if decayed else self._update
            strategy.extended.update(
                variable, update, args=(first, second, gradient, *scalars), group=False
            )

    def _update_kernel(self, kernel, first, second, gradient, learning_rate, *powers):
        if self._config.weight_decay:
            kernel.assign_sub(kernel * (learning_rate * self._config.weight_decay))
        self._update(kernel, first, second, gradient, learning_rate, *powers)

    def _update(self, variable, first, second, gradient, learning_rate, beta1_power, beta2_power):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=learning_rate,
            beta1=self._config.beta1,
            beta2=self._config.beta2,
            epsilon=self._config.epsilon,
            grad=gradient,
        )


def _zeros_like(variable: tf.Variable) -> tf.Variable:
    name = variable.name.split(":")[0] + "/moment"
    return tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False, name=name)
