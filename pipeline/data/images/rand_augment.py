"""RandAugment (arXiv 1909.13719), each image by choices of its own that follow from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pipeline.data.images import image_operations as ops

Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Image and two random numbers in [0, 1), to the changed image."""


def rand_augment(image: tf.Tensor, seed: tf.Tensor, layers: int, magnitude: int) -> tf.Tensor:
    """Apply `layers` operations drawn from the sixteen, with replacement.

    Args:
        image: uint8 `[height, width, 3]` of static size.
        seed: two integers; the same seed makes the same choices.
        layers: operations in a row.
        magnitude: level of each, 10 being the usual maximum; AugReg takes up to 20.

    Returns:
        uint8 `[height, width, 3]`.
    """
    height, width, _ = image.shape
    operations = list(make_operations((height, width), magnitude).values())
    draws = tf.random.stateless_uniform([layers, 3], seed)
    choices = tf.cast(draws[:, 0] * len(operations), tf.int32)
    return apply_in_turn(image, operations, choices, draws[:, 1:])


def apply_in_turn(
    image: tf.Tensor, operations: Sequence[Operation], choices: tf.Tensor, draws: tf.Tensor
) -> tf.Tensor:
    """Apply chosen operations, one after another.

    Args:
        image: uint8 `[height, width, 3]` of static size.
        operations: what there is to choose from.
        choices: int32 `[count]` of static size, numbers of operations.
        draws: float32 `[count, 2]` in [0, 1), what each is given.
    """
    shape = image.shape
    branches = [
        tf.function(operation, autograph=False).get_concrete_function(
            tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([2], tf.float32)
        )
        for operation in operations
    ]
    for turn in range(choices.shape[0]):
        # Not tf.switch_case: TensorFlow would spread its branches into the graph around them, and
        # then visit every operation of the fifteen that are not taken, which took longer than the
        # one that is.
        (image,) = tf.raw_ops.StatelessCase(
            branch_index=choices[turn],
            input=[image, draws[turn]],
            Tout=[tf.uint8],
            branches=branches,
            output_shapes=[shape],
        )
        image = tf.ensure_shape(image, shape)
    return image


def make_operations(size: tuple[int, int], magnitude: int) -> dict[str, Operation]:
    """The sixteen operations at one level, by name (big_vision, pp/archive/autoaugment.py).

    Geometric operations go either way, by the first random number (one direction below 1/2); it
    and the second place the center of Cutout.

    Args:
        size: height and width of the images.
        magnitude: level, a whole number from 0 on.
    """
    level = magnitude / 10
    enhance = level * 1.8 + 0.1
    shear = level * 0.3
    height, width = size

    # Beyond level 9 big_vision's threshold of Solarize, int(level * 256), does not fit into the
    # uint8 that it is compared as, and NumPy 1 wrapped it around (seen with TensorFlow 2.12). So
    # levels 10 and 20 invert the whole image, and level 15 solarizes at 128. The published models
    # were trained with that.
    threshold = int(level * 256) % 256

    def moved(*either_way: np.ndarray) -> Operation:
        sources = np.stack(either_way)
        return lambda image, draw: ops.move_pixels(
            image, tf.constant(sources)[tf.cast(draw[0] * 2, tf.int32)]
        )

    def cutout(image: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        row, column = tf.unstack(tf.cast(draw * (float(height), float(width)), tf.int32))
        return ops.cutout(image, int(level * 40), row, column)

    return {
        "AutoContrast": lambda image, draw: ops.autocontrast(image),
        "Equalize": lambda image, draw: ops.equalize(image),
        "Invert": lambda image, draw: ops.invert(image),
        "Rotate": moved(ops.rotated(size, level * 30), ops.rotated(size, level * -30)),
        "Posterize": lambda image, draw: ops.posterize(image, int(level * 4)),
        "Solarize": lambda image, draw: ops.solarize(image, threshold),
        "Color": lambda image, draw: ops.color(image, enhance),
        "Contrast": lambda image, draw: ops.contrast(image, enhance),
        "Brightness": lambda image, draw: ops.brightness(image, enhance),
        "Sharpness": lambda image, draw: ops.sharpness(image, enhance),
        "ShearX": moved(ops.sheared(size, x_by_y=shear), ops.sheared(size, x_by_y=-shear)),
        "ShearY": moved(ops.sheared(size, y_by_x=shear), ops.sheared(size, y_by_x=-shear)),
        "TranslateX": lambda image, draw: ops.translate_x(image, int(level * 100), draw[0] < 0.5),
        "TranslateY": lambda image, draw: ops.translate_y(image, int(level * 100), draw[0] < 0.5),
        "Cutout": cutout,
        "SolarizeAdd": lambda image, draw: ops.solarize_add(image, int(level * 110)),
    }
