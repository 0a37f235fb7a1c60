"""Learning from a teacher: its answers to the very images that the student sees."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from pipeline.training.objectives.classification import Classification
from pipeline.training.objectives.mixing import mix_images
from pipeline.training.objectives.objective_options import ObjectiveOptions
from vit_keras.weights.resample import resample_line


class Distillation(Classification):
    """Cross-entropy with the labels and with a teacher; see `Objective` for the methods.

        loss = (1 − weight) · cross-entropy with the labels + weight · distance to the teacher

    Where nothing but the teacher counts (weight 1), this is the function matching of "A good and
    patient teacher" (Beyer et al. 2022, arXiv 2106.05237): both see the same crop, mixed alike.
    """

    def __init__(
        self,
        options: ObjectiveOptions,
        num_classes: int,
        class_weights: Sequence[float] | None,
        teacher: keras.Model,
    ):
        """`teacher`: takes pixels in [-1, 1], of an image size of its own, to as many logits."""
        super().__init__(options, num_classes, class_weights)
        assert options.distillation
        self._distillation = options.distillation
        self._teacher = teacher

    def training_scores(
        self,
        model: keras.Model,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        *mixing: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss above, and hits of `hits`: of the labels."""
        seen = mix_images(images, mixing[0]) if mixing else images
        taught = self._teacher(resized(seen, self._teacher.image_size), training=False)
        logits = model(seen, training=True, seeds=seeds)
        losses = distances(
            logits,
            tf.stop_gradient(taught),
            hard=self._distillation.kind == "hard",
            temperature=self._distillation.temperature,
        )
        weight = self._distillation.weight
        if weight < 1.0:
            losses = weight * losses + (1.0 - weight) * self._label_losses(logits, labels, *mixing)
        return losses, self._hits(logits, labels)


def distances(
    logits: tf.Tensor, taught: tf.Tensor, *, hard: bool, temperature: float = 1.0
) -> tf.Tensor:
    """Distance of each answer to the teacher's, in nats.

    Args:
        logits: of the student, float `[batch, classes]`; computed in float32.
        taught: of the teacher, the same.
        hard: cross-entropy with the class that the teacher would choose (DeiT, arXiv 2012.12877);
            otherwise the divergence KL(teacher ‖ student).
        temperature: T, which divides all logits; the divergence is multiplied by T², so that its
            gradient keeps its size (Hinton et al. 2015).

    Returns:
        float32 `[batch]`.
    """
    logits, taught = (tf.cast(value, tf.float32) for value in (logits, taught))
    if hard:
        chosen = tf.argmax(taught, axis=-1)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(chosen, logits)
    student, teacher = (tf.nn.log_softmax(value / temperature) for value in (logits, taught))
    return temperature**2 * tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)


def resized(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Images `[batch, height, width, 3]` of another size, by antialiased bicubic interpolation.

    As two products of matrices, which every accelerator computes.
    """
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    rows, columns = (
        resample_line(np.eye(old, dtype=np.float32), new, "bicubic_antialias")
        for old, new in zip(images.shape[1:3], size, strict=True)
    )
    enlarged = tf.einsum("ri,bijc,sj->brsc", rows, images, columns)
    return tf.clip_by_value(enlarged, -1.0, 1.0)  # it overshoots at edges
