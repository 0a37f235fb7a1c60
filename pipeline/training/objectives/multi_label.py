"""Any number of labels to an image: a sigmoid for each class."""

from __future__ import annotations

import keras
import tensorflow as tf

from pipeline.training.objectives.classification import Classification, sigmoid_losses


class MultiLabel(Classification):
    """Sum over the classes of sigmoid cross-entropies; see `Objective` for the methods.

    Labels are bool `[batch, classes]`. A class weight is a factor of the terms of its class, of
    images that are of it and of others alike: so a probability stays what it says.
    """

    num_hits = 3

    def evaluation_scores(
        self, model: keras.Model, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The same, unweighted and unsmoothed; the answers are the logits."""
        logits = tf.cast(model(images, training=False), tf.float32)
        losses = tf.reduce_sum(sigmoid_losses(logits, tf.cast(labels, tf.float32)), axis=-1)
        return losses, self._hits(logits, labels), logits

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """F1 of all labels together, where a probability of 0.5 counts as a label."""
        return {"f1": tf.math.divide_no_nan(2.0 * hits[0], hits[1] + hits[2])}

    def _hits(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Labels found, labels given, and labels there are: float32 `[batch, 3]`."""
        given = logits >= 0.0
        counted = tf.cast(tf.stack([given & labels, given, labels], axis=1), tf.float32)
        return tf.reduce_sum(counted, axis=-1)

    def _losses(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(labels, tf.float32)
        losses = sigmoid_losses(logits, targets, self._options.label_smoothing)
        if self._class_weights is not None:
            losses *= tf.constant(self._class_weights, tf.float32)
        return tf.reduce_sum(losses, axis=-1)
