"""What it takes to train a member: FLOPs, memory on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from pipeline.config import PretrainConfig
from pipeline.model import build_model
from vit_keras.flops import Cost, model_cost

FLOAT32_BYTES = 4
OPTIMIZER_SLOTS = 2
"""Numbers that AdamW keeps beside each weight."""
EXPORTED_COPIES = 2
"""The SavedModel and the `.keras` file."""


@dataclass(frozen=True)
class TrainingCost:
    """Cost of one training run."""

    model: Cost
    images: int
    """Training images seen, each view counted."""

    @property
    def flops(self) -> float:
        """Of all forward and backward passes."""
        return float(self.model.training_flops) * self.images


def training_cost(recipe: PretrainConfig, num_classes: int, images: int) -> TrainingCost:
    """Cost of training on `images` views, without making any weights.

    FLOPs are counted by `vit_keras.flops`: two for a multiply-add, the backward pass twice the
    forward pass.

    Raises:
        UserError: the architecture cannot be.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = build_model(recipe, num_classes)
    return TrainingCost(model_cost(model), images)


def planned_steps(recipe: PretrainConfig, train_images: int) -> int:
    """Optimiser steps of a recipe on a split of so many images."""
    if recipe.steps is not None:
        return recipe.steps
    assert recipe.epochs is not None  # check_config
    return max(1, math.floor(recipe.epochs * train_images / recipe.batch_size))


def storage_bytes(recipe: PretrainConfig, parameters: int) -> int:
    """Bytes that a finished run keeps: its checkpoints and its export."""
    averaged = recipe.ema_decay is not None
    checkpoint = 1 + OPTIMIZER_SLOTS + averaged
    copies = checkpoint * recipe.checkpoint.keep + EXPORTED_COPIES
    return FLOAT32_BYTES * parameters * copies
