"""Prediction of hidden patches: pre-training without labels, by `masked_patches` or MAE."""

from __future__ import annotations

from dataclasses import asdict

import keras
import tensorflow as tf

import vit_keras
from groundwork.errors import UserError
from pipeline.training.model.build_model import build_model
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.objectives.objective_options import ObjectiveOptions
from vit_keras.masked_autoencoder import MaskedAutoencoder
from vit_keras.masked_patches import MaskedPatchModel
from vit_keras.patch_prediction import PatchPredictor


class MaskedPatches:
    """Loss over hidden patches, see `PatchPredictor`; see `Objective` for the methods.

    An image's hits are the share of its hidden patches whose colors are predicted right. The
    regression of pixels has none.
    """

    num_hits = 1

    def __init__(self, model: PatchPredictor):
        self._has_accuracy = model.predicts_classes

    def training_scores(
        self,
        model: PatchPredictor,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss and accuracy over hidden patches; labels count for nothing."""
        return self._scores(model, images, seeds, training=True)

    def evaluation_scores(
        self, model: PatchPredictor, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, None]:
        """The same without dropout."""
        # Which patches are hidden follows from the image itself: the same in every evaluation,
        # in whatever batch, on whatever replica.
        bits = tf.bitcast(tf.cast(images, tf.float32), tf.int32)
        seeds = tf.reduce_sum(bits, axis=(1, 2, 3))
        return *self._scores(model, images, seeds, training=False), None

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """Share of the hidden colors that are predicted right."""
        return {"accuracy": hits[0] / examples} if self._has_accuracy else {}

    def _scores(
        self, model: PatchPredictor, images: tf.Tensor, seeds: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        losses, hits = model.score_per_image(images, training=training, seeds=seeds)
        return losses, hits[:, None]


def build_patch_predictor(
    options: ObjectiveOptions,
    config: ModelConfig,
    image_size: tuple[int, int],
    *,
    seed: int,
    policy: str = "float32",
) -> PatchPredictor:
    """The model to train; the arguments but for `options` are `build_model`'s.

    Raises:
        UserError: the model is no ViT, or not one that the objective can train.
    """
    vit = build_model(config, image_size, None, seed=seed, policy=policy)
    try:
        if options.objective == "masked_patches":
            return MaskedPatchModel(vit, **asdict(options.masked_patches), dtype=vit.dtype_policy)
        return MaskedAutoencoder(vit, **asdict(options.masked_autoencoder), dtype=vit.dtype_policy)
    except ValueError as error:
        raise UserError(
            f"objective={options.objective} with model.variant={config.variant}: {error}"
        ) from error


def as_classifier(model: PatchPredictor, num_classes: int) -> keras.Model:
    """The encoder that was trained, with a new head of zeros."""
    return vit_keras.adapt_model(model.vit, num_classes=num_classes)
