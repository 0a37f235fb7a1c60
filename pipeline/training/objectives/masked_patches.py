"""Masked patch prediction: pre-training without labels (paper, appendix B.1.2)."""

from __future__ import annotations

import keras
import tensorflow as tf

import vit_keras
from groundwork.errors import UserError
from pipeline.training.model.build_model import build_model
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.objectives.objective_options import MaskedPatchesConfig
from vit_keras.masked_patches import MaskedPatchModel


class MaskedPatches:
    """Loss over corrupted patches, see `MaskedPatchModel`; see `Objective` for the methods.

    An image's hits are the share of its corrupted patches whose colors are predicted right. The
    regression of pixels has none.
    """

    num_hits = 1

    def __init__(self, model: MaskedPatchModel):
        self._has_accuracy = model.target != "pixels"

    def training_scores(
        self,
        model: MaskedPatchModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss and accuracy over corrupted patches; labels count for nothing."""
        return self._scores(model, images, seeds, training=True)

    def evaluation_scores(
        self, model: MaskedPatchModel, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, None]:
        """The same without dropout."""
        # Which patches are corrupted follows from the image itself: the same in every evaluation,
        # in whatever batch, on whatever replica.
        bits = tf.bitcast(tf.cast(images, tf.float32), tf.int32)
        seeds = tf.reduce_sum(bits, axis=(1, 2, 3))
        return *self._scores(model, images, seeds, training=False), None

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """Share of the corrupted colors that are predicted right."""
        return {"accuracy": hits[0] / examples} if self._has_accuracy else {}

    def _scores(
        self, model: MaskedPatchModel, images: tf.Tensor, seeds: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        losses, hits = model.score_per_image(images, training=training, seeds=seeds)
        return losses, hits[:, None]


def build_masked_patch_model(
    options: MaskedPatchesConfig,
    config: ModelConfig,
    image_size: tuple[int, int],
    *,
    seed: int,
    policy: str = "float32",
) -> MaskedPatchModel:
    """The model to train; the arguments but for `options` are `build_model`'s.

    Raises:
        UserError: the model is no ViT, or its patches do not fit the target.
    """
    vit = build_model(config, image_size, None, seed=seed, policy=policy)
    try:
        return MaskedPatchModel(vit, options.target, options.mask_ratio, dtype=policy)
    except ValueError as error:
        raise UserError(
            f"objective=masked_patches with model.variant={config.variant}: {error}"
        ) from error


def as_classifier(model: MaskedPatchModel, num_classes: int) -> keras.Model:
    """The encoder that was trained, with a new head of zeros."""
    return vit_keras.adapt_model(model.vit, num_classes=num_classes)
