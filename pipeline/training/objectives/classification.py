"""Cross-entropy with the labels, and how often the model is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf

from pipeline.training.objectives.mixing import mix_images, swap_pairs
from pipeline.training.objectives.objective_options import ObjectiveOptions

CLASSES_FOR_TOP5 = 6
"""With fewer classes every answer is among the first five, or nearly every one."""


class Classification:
    """Cross-entropy; see `Objective` for the methods.

    Mixed images count with both labels, and as a hit with the one that weighs more. Label smoothing
    and class weights are of the training loss alone.
    """

    num_hits = 2

    def __init__(
        self, options: ObjectiveOptions, num_classes: int, class_weights: Sequence[float] | None
    ):
        """`class_weights`: factor of the loss of each class; None: 1."""
        self._options = options
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
        """Cross-entropy with the labels, and hits of `hits`."""
        seen = mix_images(images, mixing[0]) if mixing else images
        logits = model(seen, training=True, seeds=seeds)
        return self._label_losses(logits, labels, *mixing), self._hits(logits, labels)

    def evaluation_scores(
        self, model: keras.Model, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The same, unweighted and unsmoothed."""
        logits = model(images, training=False)
        losses = cross_entropy(logits, labels, self._options.loss)
        return losses, hits(logits, labels), tf.argmax(logits, axis=-1)

    def accuracies(self, hits: tf.Tensor, examples: float) -> dict[str, tf.Tensor]:
        """Accuracy, and from 6 classes on top-5 accuracy."""
        return accuracies(hits, examples, self._num_classes)

    def _hits(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return hits(logits, labels)

    def _label_losses(self, logits: tf.Tensor, labels: tf.Tensor, *mixing: tf.Tensor) -> tf.Tensor:
        """Cross-entropy with the labels, or with those of each mixed pair."""
        if not mixing:
            return self._losses(logits, labels)
        share, others = mixing[1], swap_pairs(labels)
        if self._options.mixed_labels == "whole":
            return self._losses_of_both(logits, labels, others, share)
        # The loss is linear in the target.
        own, other = self._losses(logits, labels), self._losses(logits, others)
        return share * own + (1.0 - share) * other

    def _losses(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        losses = cross_entropy(logits, labels, self._options.loss, self._options.label_smoothing)
        if self._class_weights is None:
            return losses
        return losses * tf.gather(tf.constant(self._class_weights, tf.float32), labels)

    def _losses_of_both(
        self, logits: tf.Tensor, labels: tf.Tensor, others: tf.Tensor, share: tf.Tensor
    ) -> tf.Tensor:
        """Sums of sigmoid cross-entropies with every label that has a share as a whole target."""
        own, others = (tf.one_hot(each, self._num_classes) for each in (labels, others))
        targets = tf.where(share < 1.0, tf.maximum(own, others), own)
        smoothing = self._options.label_smoothing
        return tf.reduce_sum(sigmoid_losses(logits, targets, smoothing), axis=-1)


def cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    kind: Literal["softmax", "sigmoid"],
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """Loss of each example, in nats.

    Args:
        logits: float `[batch, classes]`; computed in float32.
        labels: int `[batch]`.
        kind: softmax over the classes, or the sum over classes of sigmoid cross-entropies (paper,
            ImageNet-21k and JFT).
        label_smoothing: share of the target spread evenly over all classes.

    Returns:
        float32 `[batch]`.
    """
    logits = tf.cast(logits, tf.float32)
    targets = tf.one_hot(labels, logits.shape[-1])
    if kind == "sigmoid":
        return tf.reduce_sum(sigmoid_losses(logits, targets, label_smoothing), axis=-1)
    targets = smoothed(targets, label_smoothing)
    return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def sigmoid_losses(
    logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Sigmoid (binary) cross-entropy of each class with its target, float `[batch, classes]`."""
    targets = smoothed(targets, label_smoothing)
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))


def smoothed(targets: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Targets `[batch, classes]` with a share of them spread evenly over all classes."""
    return targets * (1 - label_smoothing) + label_smoothing / targets.shape[-1]


def hits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether each label is the first choice, and whether it is among the first five.

    Equal logits go by rising class, as in `tf.argmax` and `tf.math.top_k`; these, as
    `tf.math.in_top_k`, XLA does not compile everywhere.

    Args:
        logits: float `[batch, classes]`.
        labels: int `[batch]`.

    Returns:
        float32 `[batch, 2]`, 0 or 1.
    """
    classes = tf.range(logits.shape[-1], dtype=labels.dtype)
    own = tf.gather(logits, labels, batch_dims=1)[:, None]
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    rank = tf.reduce_sum(tf.cast(before, tf.int32), axis=-1)
    first = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
    return tf.cast(tf.stack([first, rank < 5], axis=-1), tf.float32)


def accuracies(right: tf.Tensor, count: float, num_classes: int) -> dict[str, tf.Tensor]:
    """Summed `hits` `[2]` of `count` examples as metrics by name."""
    shares = {"accuracy": right[0] / count}
    if num_classes >= CLASSES_FOR_TOP5:
        shares["accuracy_top5"] = right[1] / count
    return shares
