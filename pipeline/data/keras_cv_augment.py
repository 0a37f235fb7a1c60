"""keras-cv's RandAugment in the place of ours; the package is an extra, and is imported late."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from pipeline.data.augment_preset import USUAL_MAXIMUM


def keras_cv_rand_augment(image: tf.Tensor, layers: int, magnitude: int) -> tf.Tensor:
    """Apply keras-cv's standard policy, with its own deviation of the magnitude and its own rate.

    Its choices come from generators with a state, not from the image's seed.

    Args:
        image: float32 `[height, width, 3]` in [0, 255].
        layers: operations in a row.
        magnitude: level from 0 to USUAL_MAXIMUM, which is keras-cv's 1.0.

    Returns:
        float32 `[height, width, 3]` in [0, 255].
    """
    changed = _layer(layers, magnitude)(image)
    return tf.ensure_shape(tf.clip_by_value(changed, 0.0, 255.0), image.shape)


@functools.cache  # its generators are variables, which must outlive the graphs that use them
def _layer(layers: int, magnitude: int) -> Any:
    with tf.init_scope():  # called while tf.data traces, where no variable can be made
        import keras_cv

        return keras_cv.layers.RandAugment(
            value_range=(0, 255),
            augmentations_per_image=layers,
            magnitude=magnitude / USUAL_MAXIMUM,
        )
