"""keras-cv's RandAugment in the place of ours; the package is an extra, and is imported late.

keras-cv draws from generators with a state, which no resumed run could put back, so only its layers
and its policy are used here: what they would draw for an image is drawn from the image's seed.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from pipeline.data.images.augment_preset import USUAL_MAXIMUM

MAGNITUDE_STDDEV = 0.15
"""Deviation of the magnitude from image to image, keras-cv's default."""
RATE = 10 / 11
"""Share of the operations that are applied, keras-cv's default: the paper has an identity too."""


def keras_cv_rand_augment(
    image: tf.Tensor, seed: tf.Tensor, layers: int, magnitude: int
) -> tf.Tensor:
    """Apply `layers` operations drawn from the ten of keras-cv's standard policy.

    Args:
        image: float32 `[height, width, 3]` in [0, 255].
        seed: two integers; the same seed makes the same choices.
        layers: operations in a row.
        magnitude: level from 0 to USUAL_MAXIMUM, which is keras-cv's 1.0.

    Returns:
        float32 `[height, width, 3]` in [0, 255].
    """
    operations = standard_policy(magnitude)
    draws = tf.random.stateless_uniform([layers, 4], seed)
    choices = tf.cast(draws[:, 0] * len(operations), tf.int32)
    choices = tf.where(draws[:, 1] < RATE, choices, len(operations))
    images = image[None]
    for layer in range(layers):
        branches = [
            functools.partial(_apply, each, images, draws[layer, 2:]) for each in operations
        ]
        branches.append(functools.partial(tf.identity, images))
        images = tf.switch_case(choices[layer], branches)
    return tf.ensure_shape(tf.clip_by_value(images[0], 0.0, 255.0), image.shape)


@functools.cache
def standard_policy(magnitude: int) -> list[Any]:
    """keras-cv's layers for images in [0, 255] at one level, from 0 to USUAL_MAXIMUM."""
    with tf.init_scope():  # each layer makes a variable, which cannot be while tf.data traces
        import keras_cv

        policy: list[Any] = keras_cv.layers.RandAugment.get_standard_policy(
            (0, 255), magnitude / USUAL_MAXIMUM, MAGNITUDE_STDDEV
        )
        return policy


def transformations(layer: Any, draw: tf.Tensor) -> Any:
    """What `layer.get_random_transformation_batch(1)` gives, from two random numbers in [0, 1)."""
    from keras_cv import layers as cv

    match layer:
        case cv.Solarization():
            return {
                "additions": _factor(layer.addition_factor, draw[0], rank=4),
                "thresholds": _factor(layer.threshold_factor, draw[1], rank=4),
            }
        case cv.RandomColorDegeneration() | cv.RandomContrast():
            return _factor(layer.factor, draw[0], rank=4)
        case cv.RandomBrightness():
            return _factor(layer.factor, draw[0], rank=4) * 255.0
        case cv.RandomShear():
            direction = tf.where(draw[1] < 0.5, -1.0, 1.0)
            return {
                "shear_x": _factor(layer.x_factor, draw[0], rank=2) * direction,
                "shear_y": _factor(layer.y_factor, draw[0], rank=2) * direction,
            }
        case cv.RandomTranslation():
            height, width = layer.height_upper, layer.width_upper
            both_ways = tf.fill([1, 1], 2 * draw[0] - 1)
            return {
                "height_translations": both_ways * height,
                "width_translations": both_ways * width,
            }
        case _:
            return None


def _apply(layer: Any, images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    changed = layer.augment_images(images, transformations=transformations(layer, draw))
    return tf.ensure_shape(changed, images.shape)


def _factor(sampler: Any, uniform: tf.Tensor, rank: int) -> tf.Tensor:
    """What the sampler gives, at this quantile of its distribution: float32 `[1, …, 1]`."""
    from keras_cv import core

    match sampler:
        case core.NormalFactorSampler():
            value = sampler.mean + sampler.stddev * tf.math.ndtri(uniform)
            value = tf.clip_by_value(value, sampler.min_value, sampler.max_value)
        case core.UniformFactorSampler():
            value = sampler.lower + (sampler.upper - sampler.lower) * uniform
        case _:
            value = tf.cast(sampler.value, tf.float32)
    return tf.fill([1] * rank, value)
