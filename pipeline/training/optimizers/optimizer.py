"""What every optimizer shares: it takes gradients that are already summed over the replicas.

So what comes between the sum and the update (clipping, checks) sees the gradient of the whole
global batch. Keras' optimizers sum again, and clip before that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.own_copy import own_copy
from pipeline.training.optimizers.weight_rules import WeightRule

Slots: TypeAlias = dict[str, tf.Variable]
Scalars: TypeAlias = dict[str, tf.Tensor | float]


class Optimizer(ABC):
    """Updates variables in place, with decoupled weight decay (Loshchilov & Hutter 2019):

        rate ← learning_rate · rule.rate_scale
        variable ← variable · (1 − rate · rule.weight_decay)

    and then what the subclass does at that `rate`. Create it under the strategy's scope.

    Attributes:
        variables: what it updates.
        slots: of each variable, what the optimizer remembers of it, by name.
        shared: what it remembers beside that, by name.
        decays_first: whether weights decay as above, or in the subclass's own update.
        changes_own_copies: whether each replica changes its own copies of the variables, so that
            XLA can compile the update.
    """

    decays_first = True
    changes_own_copies = True

    def __init__(
        self,
        weights: Sequence[keras.Variable],
        rules: Sequence[WeightRule],
        config: OptimConfig,
    ):
        """Make the slots of `weights`; `rules` are theirs, in the same order."""
        self._config = config
        self._rules = list(rules)
        self.variables = [weight.value for weight in weights]
        self.slots = [self._make_slots(variable) for variable in self.variables]
        self.shared: Slots = {}

    @property
    def memory(self) -> list[tf.Variable]:
        """All that it remembers."""
        return [slot for table in (*self.slots, self.shared) for slot in table.values()]

    def adopt_weights(self) -> None:  # noqa: B027  # most remember nothing of the weights
        """To call where the weights are given other values before the first update."""

    def averages(self) -> list[tf.Tensor] | None:
        """What the method evaluates in place of the weights that it trains; None: the weights."""
        return None

    @abstractmethod
    def _make_slots(self, variable: tf.Variable) -> Slots:
        """What to remember of `variable`."""

    def _scalars(self, count: tf.Tensor) -> Scalars:
        """Numbers that all variables share in update `count` (float32, from 1)."""
        return {}

    @abstractmethod
    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        """Move one variable, on one device, by its gradient."""

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        step: tf.Tensor,
        condition: tf.Tensor | None = None,
    ) -> None:
        """Update the variables, from within a replica.

        Args:
            gradients: of the global batch: the same on every replica.
            learning_rate: float32 scalar.
            step: updates finished before this one, integer scalar.
            condition: bool scalar, the same on every replica; where it is false nothing changes.
                None: update.
        """
        scalars = self._scalars(tf.cast(step + 1, tf.float32)) | {"learning_rate": learning_rate}
        if self._config.head_first_steps:  # the rate of all but the head is 0 in these
            together = tf.cast(step >= self._config.head_first_steps, tf.float32)
            scalars["body_rate"] = learning_rate * together

        def update() -> None:
            everything = zip(self.variables, self.slots, gradients, self._rules, strict=True)
            for variable, slots, gradient, rule in everything:
                own = {name: own_copy(slot) for name, slot in slots.items()}
                self._update_variable(rule, own_copy(variable), own, gradient, scalars)

        if condition is None:
            update()
        else:
            tf.cond(condition, update, lambda: None)

    def _update_variable(
        self,
        rule: WeightRule,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        rate = scalars["learning_rate"]
        if not rule.is_head:
            rate = scalars.get("body_rate", rate)
        if rule.rate_scale != 1.0:
            rate *= rule.rate_scale
        if rule.weight_decay and self.decays_first:
            variable.assign_sub(variable * (rate * rule.weight_decay))
        of_rule = scalars | {"weight_decay": rule.weight_decay}
        self._update(variable, slots, gradient, rate, of_rule)


def make_slot(
    variable: tf.Variable,
    name: str,
    shape: Sequence[int] | None = None,
    dtype: tf.DType = tf.float32,
) -> tf.Variable:
    """Zeros of `shape`, by default that of `variable`."""
    zeros = tf.zeros(variable.shape if shape is None else shape, dtype)
    return tf.Variable(zeros, trainable=False, name=f"{variable.name.split(':')[0]}/{name}")
