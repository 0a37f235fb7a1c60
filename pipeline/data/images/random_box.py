"""A random box of a random share of an image, as torchvision and timm draw it."""

from __future__ import annotations

import math

import tensorflow as tf

ATTEMPTS = 10
"""Boxes that are drawn, of which the first that fits counts."""


def random_box(
    draws: tf.Tensor,
    size: tf.Tensor,
    largest: tf.Tensor,
    areas: tuple[float, float],
    ratios: tuple[float, float],
) -> tuple[tf.Tensor, tf.Tensor]:
    """The first of `ATTEMPTS` boxes that fits.

    Its share of the image's area is uniform in `areas`, the logarithm of its width divided by its
    height uniform between those of `ratios`, and its place uniform over those where it is inside.

    Args:
        draws: float32 `[ATTEMPTS, 4]` in [0, 1): for the area, the ratio, the row and the column.
        size: height and width of the image, int32 `[2]`.
        largest: height and width that fit, int32 `[2]`.
        areas: smallest and largest share of the area.
        ratios: smallest and largest ratio.

    Returns:
        Whether one fits, bool [], and top, left, height and width, int32 `[4]`.
    """
    draws = tf.cast(draws, tf.float64)
    sides = tf.cast(size, tf.float64)
    area = (areas[0] + (areas[1] - areas[0]) * draws[:, 0]) * tf.reduce_prod(sides)
    low, high = (math.log(ratio) for ratio in ratios)
    ratio = tf.exp(low + (high - low) * draws[:, 1])
    boxes = tf.round(tf.sqrt(tf.stack([area / ratio, area * ratio], axis=-1)))
    fits = tf.reduce_all((boxes > 0) & (boxes <= tf.cast(largest, tf.float64)), axis=-1)
    first = tf.argmax(fits)
    box = boxes[first]
    corner = tf.floor(draws[first, 2:] * (sides - box + 1))
    return tf.reduce_any(fits), tf.cast(tf.concat([corner, box], axis=0), tf.int32)
