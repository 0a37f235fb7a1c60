"""Optimizers that see the gradient of the global batch."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from pipeline.training.optimizers.adafactor import Adafactor
from pipeline.training.optimizers.adamw import AdamW
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.optimizer import Optimizer
from pipeline.training.optimizers.sgd import SGD
from pipeline.training.optimizers.weight_rules import WeightRule

OPTIMIZERS: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD, "adafactor": Adafactor}


def make_optimizer(
    variables: Sequence[tf.Variable], rules: Sequence[WeightRule], config: OptimConfig
) -> Optimizer:
    """The optimizer that `config` names, for `variables`, whose `rules` are in the same order."""
    return OPTIMIZERS[config.optimizer](variables, rules, config)
