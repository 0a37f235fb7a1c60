"""Labels and images of VTAB tasks that TFDS does not give as they are.

Each function takes the parsed features of one example, the image still encoded. Sources:
google-research/task_adaptation, data/clevr.py, kitti.py, dsprites.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Features = dict[str, Any]
Label = Callable[[Features], tf.Tensor]

CLEVR_DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
KITTI_DISTANCES = (-100.0, 8.0, 20.0, 999.0)
KITTI_VEHICLES = 3
"""Types 0, 1 and 2: car, van, truck."""
NO_VEHICLE = 1000.0
CLEVR_FEWEST_OBJECTS = 3


def plain(key: str) -> Label:
    """The class label at `key`."""
    return lambda features: tf.cast(features[key], tf.int64)


def binned(key: str, values: int, bins: int) -> Label:
    """A label of `values` classes as one of `bins` equal bins."""
    return lambda features: tf.cast(
        tf.math.floordiv(tf.cast(features[key], tf.float32), values / bins), tf.int64
    )


def clevr_count(features: Features) -> tf.Tensor:
    """Number of objects: 3 to 10 are classes 0 to 7."""
    return tf.shape(features["objects"]["size"], tf.int64)[0] - CLEVR_FEWEST_OBJECTS


def clevr_distance(features: Features) -> tf.Tensor:
    """Depth of the nearest object, in 6 classes."""
    return _interval(tf.reduce_min(features["objects"]["pixel_coords"][:, 2]), CLEVR_DISTANCES)


def kitti_distance(features: Features) -> tf.Tensor:
    """Distance of the nearest vehicle in metres, in 4 classes, the last: none."""
    objects = features["objects"]
    depth = tf.where(objects["type"] < KITTI_VEHICLES, objects["location"][:, 2], NO_VEHICLE)
    nearest = tf.reduce_min(tf.concat([depth, [NO_VEHICLE]], axis=0))
    return _interval(nearest, KITTI_DISTANCES)


def as_it_is(features: Features) -> tf.Tensor:
    """The encoded image."""
    return features["image"]


def dsprites_image(features: Features) -> tf.Tensor:
    """dSprites' pixels are 0 and 1: the image with 0 and 255."""
    return tf.io.encode_png(tf.io.decode_png(features["image"], channels=1) * 255)


def _interval(value: tf.Tensor, starts: tuple[float, ...]) -> tf.Tensor:
    """Index of the last of the rising `starts` that `value` exceeds."""
    return tf.reduce_sum(tf.cast(value > tf.constant(starts), tf.int64)) - 1
