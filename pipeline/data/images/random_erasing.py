"""Random erasing (arXiv 1708.04896) with noise in each pixel, as timm does it for DeiT."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from pipeline.data.images.image_operations import paste
from pipeline.data.images.random_box import ATTEMPTS, random_box

AREAS = (0.02, 1 / 3)
RATIOS = (0.3, 1 / 0.3)
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)
"""ImageNet's mean and deviation: timm draws standard normal numbers for the normalized image."""


def random_erasing(image: tf.Tensor, seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Lay a box of noise over the image, with some probability.

    timm's noise goes beyond black and white; here it ends there, for images are of 8 bits.

    Args:
        image: uint8 `[height, width, 3]` of static size.
        seed: two integers.
        probability: in [0, 1].
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    draws = tf.random.stateless_uniform([4 * ATTEMPTS + 1], seeds[0])
    found, box = erased_box(tf.reshape(draws[1:], [ATTEMPTS, 4]), image.shape.as_list()[:2])

    def erased() -> tf.Tensor:
        top, left, height, width = tf.unstack(box)
        noise = tf.random.stateless_normal([height, width, 3], seeds[1]) * DEVIATION + MEAN
        noise = tf.cast(tf.clip_by_value(tf.round(noise), 0.0, 255.0), tf.uint8)
        return paste(image, noise, top, left)

    return tf.cond(found & (draws[0] < probability), erased, lambda: image)


def erased_box(draws: tf.Tensor, size: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether there is a box, and its top, left, height and width, int32 `[4]`; see `random_box`.

    It leaves at least a row and a column.
    """
    shape = tf.constant(size, tf.int32)
    return random_box(draws, shape, shape - 1, AREAS, RATIOS)
