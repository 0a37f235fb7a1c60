"""Schedule-Free AdamW, as its authors' code computes it."""

from __future__ import annotations

import tensorflow as tf

from pipeline.training.optimizers.optimizer import Optimizer, Scalars, Slots, make_slot


class ScheduleFreeAdamW(Optimizer):
    """Schedule-Free AdamW (arXiv 2405.15682; github.com/facebookresearch/schedule_free).

    It needs no decay of the rate: what it evaluates is a mean x of all fast weights z. The gradient
    is that at the weights y between the two, which are what it trains. One update, with `t` updates
    finished before it:

        v ← β₂ · v + (1 − β₂) · gradient²
        z ← z − rate · (gradient / (√(v / (1 − β₂ᵗ⁺¹)) + ε) + weight_decay · y)
        x ← (1 − c) · x + c · z
        y ← (1 − β₁) · z + β₁ · x

    where c is the share of this update in the sum of the squares of the largest rate so far. Of x
    nothing is stored: it follows from y and z.

    That of Keras 3.15 reads z after its update in place of before it (on TensorFlow), takes c as
    1 / (t + 1), and lets weight decay shrink x.
    """

    decays_first = False

    def _make_slots(self, variable: tf.Variable) -> Slots:
        fast = make_slot(variable, "fast_weights")
        fast.assign(variable)
        return {
            "fast_weights": fast,
            "second_moment": make_slot(variable, "second_moment"),
            "largest_rate": make_slot(variable, "largest_rate", []),
            "rates": make_slot(variable, "rates", []),
        }

    def _scalars(self, count: tf.Tensor) -> Scalars:
        return {"beta2_power": self._config.beta2**count}

    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        beta1, beta2 = self._config.beta1, self._config.beta2
        fast, second = slots["fast_weights"], slots["second_moment"]
        squares = second.assign(beta2 * second + (1 - beta2) * tf.square(gradient))
        root = tf.sqrt(squares / (1 - scalars["beta2_power"]))
        direction = gradient / (root + self._config.epsilon)
        direction += scalars["weight_decay"] * variable
        largest = slots["largest_rate"].assign(tf.maximum(slots["largest_rate"], rate))
        rates = slots["rates"].assign_add(tf.square(largest))
        share = tf.math.divide_no_nan(tf.square(largest), rates)
        mean = (variable - (1 - beta1) * fast) / beta1
        moved = fast - rate * direction
        fast.assign(moved)
        variable.assign((1 - beta1) * moved + beta1 * ((1 - share) * mean + share * moved))

    def adopt_weights(self) -> None:
        """The fast weights begin where the weights do."""
        for variable, slots in zip(self.variables, self.slots, strict=True):
            slots["fast_weights"].assign(variable)

    def averages(self) -> list[tf.Tensor]:
        """x, from y and z."""
        beta1 = self._config.beta1
        return [
            (variable - (1 - beta1) * slots["fast_weights"]) / beta1
            for variable, slots in zip(self.variables, self.slots, strict=True)
        ]
