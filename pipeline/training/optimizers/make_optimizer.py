"""Optimizers that see the gradient of the global batch."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from pipeline.training.optimizers.adafactor import Adafactor
from pipeline.training.optimizers.adamw import AdamW
from pipeline.training.optimizers.keras_optimizer import KerasOptimizer
from pipeline.training.optimizers.lamb import Lamb
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.optimizer import Optimizer
from pipeline.training.optimizers.schedule_free import ScheduleFreeAdamW
from pipeline.training.optimizers.sgd import SGD
from pipeline.training.optimizers.weight_rules import WeightRule

# Of all others the names are Keras'.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adamw": AdamW,
    "sgd": SGD,
    "adafactor": Adafactor,
    "lamb": Lamb,
    "schedule_free_adamw": ScheduleFreeAdamW,
}


def make_optimizer(
    weights: Sequence[keras.Variable], rules: Sequence[WeightRule], config: OptimConfig
) -> Optimizer:
    """The optimizer that `config` names, for `weights`, whose `rules` are in the same order."""
    return OPTIMIZERS.get(config.optimizer, KerasOptimizer)(weights, rules, config)
