"""What a run minimizes, and how right the model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from pipeline.training.model.build_model import build_like, build_model
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.model.partial_training import train_partially
from pipeline.training.objectives.classification import Classification
from pipeline.training.objectives.distillation import Distillation
from pipeline.training.objectives.masked_patches import MaskedPatches, build_patch_predictor
from pipeline.training.objectives.multi_label import MultiLabel
from pipeline.training.objectives.objective_options import ObjectiveOptions
from pipeline.training.objectives.patch_sizes import ObjectiveAtPatchSize

Scores = tuple[tf.Tensor, tf.Tensor]
"""Loss of each example, float32 `[batch]`, and its hits, float32 `[batch, num_hits]`."""


class Objective(Protocol):
    """Scores examples.

    Attributes:
        num_hits: values of an example that `accuracies` needs the sums of.
    """

    num_hits: int

    def training_scores(
        self,
        model: keras.Model,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        *mixing: tf.Tensor,
    ) -> Scores:
        """Scores of a microbatch; `mixing` is the step's `Mixing`, where images are mixed."""

    def evaluation_scores(
        self, model: keras.Model, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Scores of evaluation images, the same for an image whatever its batch; and the answers:
        the class, int64 `[batch]`, that each is taken for, or with several labels to an image the
        logits, float32 `[batch, classes]`; None where the objective has no classes."""

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """Summed hits `[num_hits]` of so many examples as metrics by name."""


def make_objective(
    options: ObjectiveOptions,
    model: keras.Model,
    class_weights: Sequence[float] | None = None,
    teacher: keras.Model | None = None,
    patch_size: int | None = None,
) -> Objective:
    """The objective that `options` name.

    Args:
        options: what is learned, and its loss.
        model: what it will score.
        class_weights: factor of the training loss for each class; None: 1.
        teacher: what it learns from beside the labels; None: nothing.
        patch_size: that the model is trained at; None: its own.
    """
    if not options.reads_labels:
        return MaskedPatches(model)
    objective: Objective
    if teacher is not None:
        objective = Distillation(options, model.num_classes, class_weights, teacher)
    else:
        kind = MultiLabel if options.objective == "multi_label" else Classification
        objective = kind(options, model.num_classes, class_weights)
    if patch_size is None:
        return objective
    return ObjectiveAtPatchSize(objective, model, patch_size)


def label_spec(options: ObjectiveOptions, batch: int, num_classes: int) -> tf.TensorSpec:
    """What the labels of a batch are."""
    if options.multi_label:
        return tf.TensorSpec([batch, num_classes], tf.bool)
    return tf.TensorSpec([batch], tf.int64)


def build_objective_model(
    options: ObjectiveOptions,
    config: ModelConfig,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    seed: int,
    policy: str = "float32",
    architecture: Mapping[str, Any] | None = None,
) -> keras.Model:
    """The model that the objective trains; see `build_model` and `build_patch_predictor`.

    With an `architecture` it is that of `build_like`, whatever the variant, size and classes.
    """
    if not options.reads_labels:
        return build_patch_predictor(options, config, image_size, seed=seed, policy=policy)
    if architecture is None:
        model = build_model(config, image_size, num_classes, seed=seed, policy=policy)
    else:
        model = build_like(architecture, config, seed=seed, policy=policy)
    train_partially(model, config)
    return model
