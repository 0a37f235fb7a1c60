"""Training at a patch size that is drawn for each step (FlexiViT, arXiv 2212.08013)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from groundwork.errors import UserError
from vit_keras.weights.at_patch_size import AtPatchSize

if TYPE_CHECKING:
    from pipeline.training.objectives.objective import Objective, Scores

STREAM = 0x466C6578
"""Folded into the seed of a step, so that other draws of the step do not depend on this one."""


def drawn_patch_size(seed: tf.Tensor, step: tf.Tensor, count: int) -> tf.Tensor:
    """Which of `count` patch sizes the step after `step` finished ones has: int32 [], uniform."""
    of_step = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
    own = tf.random.experimental.stateless_fold_in(of_step, STREAM)
    return tf.random.stateless_uniform([], own, 0, count, tf.int32)


def model_at(model: keras.Model, patch_size: int) -> AtPatchSize:
    """`model` at another patch size.

    Raises:
        UserError: it is no ViT that can have one.
    """
    try:
        return AtPatchSize(model, patch_size)
    except ValueError as error:
        raise UserError(f"patch_sizes {patch_size} with this model: {error}") from error


class ObjectiveAtPatchSize:
    """An objective that trains its model at a patch size; see `Objective` for the methods."""

    def __init__(self, objective: Objective, model: keras.Model, patch_size: int):
        self.num_hits = objective.num_hits
        self._objective = objective
        self._model = model_at(model, patch_size)

    def training_scores(self, model: keras.Model, *batch: tf.Tensor) -> Scores:
        """The objective's, of the model at that patch size."""
        return self._objective.training_scores(self._model, *batch)

    def evaluation_scores(self, *batch: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """The objective's, of the model as it is."""
        return self._objective.evaluation_scores(*batch)

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """The objective's."""
        return self._objective.accuracies(hits, examples)
