"""Any optimizer of Keras, fed with the gradient of the global batch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from groundwork.errors import UserError, one_line
from pipeline.training.optimizers.keras_arguments import PREFIX
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.optimizer import Optimizer, Scalars, Slots
from pipeline.training.optimizers.weight_rules import WeightRule, is_hidden_kernel


class KerasOptimizer(Optimizer):
    """Runs the `update_step` of `keras.optimizers.NAME` on each weight.

    Clipping, weight decay, rates and averages are those of `Optimizer` and of the train step, and
    the count of updates is the step's: Keras' own know neither other replicas nor a resumed run.

    Muon is for the kernels of the encoder blocks, and its AdamW for all other weights, as its
    author uses it (github.com/KellerJordan/Muon); queries, keys and values are one matrix here.
    """

    changes_own_copies = False

    def __init__(
        self,
        weights: Sequence[keras.Variable],
        rules: Sequence[WeightRule],
        config: OptimConfig,
    ):
        super().__init__(weights, rules, config)
        name = config.optimizer.removeprefix(PREFIX)
        options: dict[str, Any] = dict(config.keras_options)
        if name == "Muon":
            others = [weight.path for weight in weights if not is_hidden_kernel(weight.path)]
            options["exclude_layers"] = [f"^{re.escape(path)}$" for path in others]
        kind = getattr(keras.optimizers, name)
        try:
            self._keras = kind(1.0, weight_decay=0.0, name=name, **options)
        except ValueError as error:
            raise UserError(f"optim.keras_options of {name}: {one_line(error, None)}") from error
        self._keras.build(list(weights))
        kept = [v for v in self._keras.variables if v is not self._keras.learning_rate]
        # By number too, for some paths are given twice.
        self.shared = {f"{i:04}/{v.path}": v.value for i, v in enumerate(kept)}

    def _make_slots(self, variable: tf.Variable) -> Slots:
        return {}  # all is in `shared`

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        step: tf.Tensor,
        condition: tf.Tensor | None = None,
    ) -> None:
        """As `Optimizer.apply`, for all replicas at once: Keras would not find the own copies."""
        count = tf.cast(step + 1, tf.float32)
        scalars = {"count": count, "learning_rate": learning_rate}
        replica = tf.distribute.get_replica_context()
        replica.merge_call(self._update_all, args=(list(gradients), scalars, condition))

    def _update_all(
        self,
        strategy: tf.distribute.Strategy,
        gradients: Sequence[tf.Tensor],
        scalars: Scalars,
        condition: tf.Tensor | None,
    ) -> None:
        def count(iterations: tf.Variable, updates: tf.Tensor) -> None:
            iterations.assign(tf.cast(updates, iterations.dtype) - 1)

        def update(
            variable: tf.Variable,
            rule: WeightRule,
            gradient: tf.Tensor,
            scalars: Scalars,
            condition: tf.Tensor | None,
        ) -> None:
            move = partial(self._update_variable, rule, variable, {}, gradient, scalars)
            if condition is None:
                move()
            else:
                tf.cond(condition, move, lambda: None)

        iterations = self._keras.iterations.value
        strategy.extended.update(iterations, count, args=(scalars["count"],), group=False)
        for variable, gradient, rule in zip(self.variables, gradients, self._rules, strict=True):
            arguments = (rule, gradient, scalars, condition)
            strategy.extended.update(variable, update, args=arguments, group=False)

    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        self._keras.update_step(gradient, variable, rate)
