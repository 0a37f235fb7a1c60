"""Cross-entropy with the labels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.training.accuracy import accuracies, hits
from pipeline.training.losses import cross_entropy
from pipeline.training.mixing import mix_images, swap_pairs


class Classification:
    """Cross-entropy; see `Objective` for the methods.

    Mixed images count with both labels, and as a hit with the one that weighs more. Label smoothing
    and class weights are of the training loss alone.
    """

    num_hits = 2

    def __init__(
        self, config: PretrainConfig, num_classes: int, class_weights: Sequence[float] | None
    ):
        """`class_weights`: factor of the loss of each class; None: 1."""
        self._config = config
        self._num_classes = num_classes
        self._class_weights = class_weights

    def training_scores(
        self,
        model: keras.Model,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        *mixing: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Cross-entropy with the labels, and hits of `accuracy.hits`."""
        if not mixing:
            logits = model(images, training=True, seeds=seeds)
            return self._losses(logits, labels), hits(logits, labels)
        keep, share = mixing
        logits = model(mix_images(images, keep), training=True, seeds=seeds)
        # The loss is linear in the target.
        own, others = self._losses(logits, labels), self._losses(logits, swap_pairs(labels))
        return share * own + (1.0 - share) * others, hits(logits, labels)

    def evaluation_scores(
        self, model: keras.Model, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The same, unweighted and unsmoothed."""
        logits = model(images, training=False)
        losses = cross_entropy(logits, labels, self._config.loss)
        return losses, hits(logits, labels), tf.argmax(logits, axis=-1)

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """Accuracy, and from 6 classes on top-5 accuracy."""
        return accuracies(hits, examples, self._num_classes)

    def _losses(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        losses = cross_entropy(logits, labels, self._config.loss, self._config.label_smoothing)
        if self._class_weights is None:
            return losses
        return losses * tf.gather(tf.constant(self._class_weights, tf.float32), labels)
