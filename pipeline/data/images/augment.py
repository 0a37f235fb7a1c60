"""Training views of one encoded image, each random choice drawn from an explicit seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from pipeline.data.images.exif import orientation, turn_upright
from pipeline.data.images.image_decoding import decode_rgb
from pipeline.data.images.image_header import JPEG, starts_as
from pipeline.data.images.random_box import ATTEMPTS, random_box

Interpolation = Literal["bilinear", "bicubic"]
"""Bilinear is not antialiased, as big_vision trains; bicubic is, as timm trains with Pillow."""
Size = tuple[int, int]
ASPECT_RATIOS = (3 / 4, 4 / 3)
SIMPLE_CROP_PADDING = 4


def inception_crop(
    encoded: tf.Tensor,
    size: Size,
    min_area: float,
    seed: tf.Tensor,
    interpolation: Interpolation = "bilinear",
) -> tf.Tensor:
    """Random crop of random area and aspect ratio, resized (Szegedy et al., 2015).

    As TensorFlow draws it, and so big_vision: the aspect ratio is uniform in (3/4, 4/3), and the
    share A of the area is in (`min_area`, 1) with a density of 1/√A. A JPEG is decoded only where
    the crop lies, and turned upright by its EXIF orientation, as in evaluation.

    Args:
        encoded: string scalar, an image of any format that `decode_rgb` knows.
        size: height and width of the result.
        min_area: smallest share of the image's area, in (0, 1].
        seed: two integers.
        interpolation: of the resizing.

    Returns:
        float32 `[height, width, 3]` in [0, 255].
    """

    def window(shape: tf.Tensor) -> tf.Tensor:
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            bounding_boxes=tf.zeros([1, 0, 4]),
            seed=seed,
            aspect_ratio_range=ASPECT_RATIOS,
            area_range=(min_area, 1.0),
            min_object_covered=0.0,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], extent[:2]], axis=0)

    return _resize(_decode_window(encoded, window), size, interpolation)


def torchvision_crop(
    encoded: tf.Tensor,
    size: Size,
    min_area: float,
    seed: tf.Tensor,
    interpolation: Interpolation = "bilinear",
) -> tf.Tensor:
    """`inception_crop` as torchvision's RandomResizedCrop draws it, and timm's.

    The share of the area is uniform in (`min_area`, 1), the logarithm of the aspect ratio between
    those of 3/4 and 4/3. Where no crop fits, it is the largest in the center that has such a ratio.
    """

    def window(shape: tf.Tensor) -> tf.Tensor:
        draws = tf.random.stateless_uniform([ATTEMPTS, 4], seed)
        return torchvision_window(draws, shape[:2], min_area)

    return _resize(_decode_window(encoded, window), size, interpolation)


def torchvision_window(draws: tf.Tensor, shape: tf.Tensor, min_area: float) -> tf.Tensor:
    """Top, left, height and width of the crop, int32 `[4]`, of an image of `shape`, int32 `[2]`."""
    found, box = random_box(draws, shape, shape, (min_area, 1.0), ASPECT_RATIOS)
    height, width = tf.unstack(tf.cast(shape, tf.float64))
    narrowest, widest = ASPECT_RATIOS
    central = tf.cast(
        tf.round(
            tf.stack([tf.minimum(height, width / narrowest), tf.minimum(width, height * widest)])
        ),
        tf.int32,
    )
    return tf.where(found, box, tf.concat([(shape - central) // 2, central], axis=0))


def simple_crop(
    encoded: tf.Tensor, size: Size, seed: tf.Tensor, interpolation: Interpolation = "bilinear"
) -> tf.Tensor:
    """DeiT III's simple random crop (arXiv 2204.07118, section 3.3).

    The image is resized until it just covers `size`, padded by 4 reflected pixels on each side, and
    cropped at random.

    Returns:
        float32 `[height, width, 3]` in [0, 255].
    """
    image = decode_rgb(encoded)
    height, width = tf.unstack(tf.shape(image)[:2])
    covering = tf.cond(
        size[0] * width >= size[1] * height,
        lambda: tf.stack([size[0], size[0] * width // height]),
        lambda: tf.stack([size[1] * height // width, size[1]]),
    )
    image = _resized(image, covering, interpolation)
    margin = [SIMPLE_CROP_PADDING, SIMPLE_CROP_PADDING]
    image = tf.pad(image, [margin, margin, [0, 0]], "REFLECT")
    places = tf.cast(tf.shape(image)[:2] - tf.constant(size) + 1, tf.float32)
    top, left = tf.unstack(tf.cast(tf.random.stateless_uniform([2], seed) * places, tf.int32))
    return tf.ensure_shape(image[top : top + size[0], left : left + size[1]], [*size, 3])


def whole_image(
    encoded: tf.Tensor, size: Size, interpolation: Interpolation = "bilinear"
) -> tf.Tensor:
    """The whole image resized to `size`: float32 `[height, width, 3]` in [0, 255]."""
    return _resize(decode_rgb(encoded), size, interpolation)


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror left to right with probability one half."""
    return tf.image.stateless_random_flip_left_right(image, seed)


def _decode_window(encoded: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Pixels of the window, top, left, height and width, that is drawn for an image's shape."""

    def from_jpeg() -> tf.Tensor:
        chosen = window(tf.io.extract_jpeg_shape(encoded))
        crop = tf.image.decode_and_crop_jpeg(encoded, chosen, channels=3, dct_method="INTEGER_FAST")
        return turn_upright(crop, orientation(encoded))

    def from_other() -> tf.Tensor:
        image = decode_rgb(encoded)
        top, left, height, width = tf.unstack(window(tf.shape(image)))
        return image[top : top + height, left : left + width]

    crop = tf.cond(starts_as(encoded, JPEG), from_jpeg, from_other)
    crop.set_shape([None, None, 3])
    return crop


def _resize(image: tf.Tensor, size: Size, interpolation: Interpolation) -> tf.Tensor:
    return tf.ensure_shape(_resized(image, size, interpolation), [*size, 3])


def _resized(image: tf.Tensor, size: tf.Tensor | Size, interpolation: Interpolation) -> tf.Tensor:
    # In float32, for which TensorFlow has vector code; the values are the same.
    image = tf.cast(image, tf.float32)
    if interpolation == "bilinear":
        return tf.image.resize(image, size)
    resized = tf.image.resize(image, size, method="bicubic", antialias=True)
    return tf.clip_by_value(resized, 0.0, 255.0)  # it overshoots at edges; Pillow cuts too
