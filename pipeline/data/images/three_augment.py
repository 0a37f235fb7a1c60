"""3-Augment and color jitter of DeiT III (arXiv 2204.07118, section 3.3), replayed from a seed."""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.images import image_operations as ops
from pipeline.data.images.rand_augment import Operation, apply_in_turn

BLUR_RADII = (0.1, 2.0)
SOLARIZE_THRESHOLD = 128


def three_augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Gray, solarized or blurred, each with probability one third.

    Args:
        image: uint8 `[height, width, 3]` of static size.
        seed: two integers.
    """
    draws = tf.random.stateless_uniform([1, 3], seed)
    operations = three_operations()
    choices = tf.cast(draws[:, 0] * len(operations), tf.int32)
    return apply_in_turn(image, operations, choices, draws[:, 1:])


def three_operations() -> list[Operation]:
    """The three, of which blurring takes its radius from the first random number."""
    low, high = BLUR_RADII
    return [
        lambda image, draw: ops.grayscale(image),
        lambda image, draw: ops.solarize(image, SOLARIZE_THRESHOLD),
        lambda image, draw: ops.gaussian_blur(image, low + (high - low) * draw[0]),
    ]


def color_jitter(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Brightness, contrast and saturation, in random order (torchvision's ColorJitter).

    Args:
        image: uint8 `[height, width, 3]` of static size.
        seed: two integers.
        strength: each factor is uniform in (1 - strength, 1 + strength), and never negative.
    """
    draws = tf.random.stateless_uniform([3, 2], seed)
    order = tf.argsort(draws[:, 1])
    return apply_in_turn(image, jitter_operations(strength), order, draws)


def jitter_operations(strength: float) -> list[Operation]:
    """The three, each of which takes its factor from the first random number."""
    low, high = max(0.0, 1 - strength), 1 + strength
    return [
        lambda image, draw: ops.brightness(image, low + (high - low) * draw[0]),
        lambda image, draw: ops.contrast(image, low + (high - low) * draw[0]),
        lambda image, draw: ops.color(image, low + (high - low) * draw[0]),
    ]
