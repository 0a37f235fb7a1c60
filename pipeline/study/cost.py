"""What it takes to train a member: FLOPs, bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from pipeline.readiness.memory import checkpoint_bytes, slot_bytes
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.compute_meter import training_flops
from pipeline.training.objectives.objective import build_objective_model
from vit_keras.flops import Cost, model_cost

FLOAT32_BYTES = 4
EXPORTED_COPIES = 2
"""The SavedModel and the `.keras` file."""
SAM_PASSES = 2
"""Gradients that a step of sharpness-aware minimization computes."""


@dataclass(frozen=True)
class TrainingCost:
    """Cost of one training run.

    Attributes:
        model: of the architecture, for one image.
        images: training images seen, each view counted.
        flops: of all forward and backward passes; two for a multiply-add, the backward pass twice
            the forward pass.
        storage_bytes: of what a finished run keeps: its checkpoints and its export.
    """

    model: Cost
    images: int
    flops: float
    storage_bytes: int


def training_cost(recipe: PretrainConfig, num_classes: int, images: int) -> TrainingCost:
    """Cost of training on `images` views; no weights are made.

    Raises:
        UserError: the architecture cannot be.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = build_objective_model(
            recipe, recipe.model, recipe.data.height_width, num_classes, seed=recipe.seed
        )
    cost = model_cost(model)
    checkpoint = checkpoint_bytes(model, recipe, slot_bytes(model, recipe.optim))
    exports = EXPORTED_COPIES * FLOAT32_BYTES * cost.parameters
    return TrainingCost(
        model=cost,
        images=images,
        flops=float(training_flops(model, recipe.patch_sizes))
        * images
        * (SAM_PASSES if recipe.optim.sam_rho else 1),
        storage_bytes=recipe.checkpoint.keep * checkpoint + exports,
    )
