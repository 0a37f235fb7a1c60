"""Training views of one encoded image, each random choice drawn from an explicit seed."""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.images.exif import orientation, turn_upright
from pipeline.data.images.image_decoding import decode_rgb
from pipeline.data.images.image_header import JPEG, starts_as

ASPECT_RATIOS = (3 / 4, 4 / 3)


def inception_crop(
    encoded: tf.Tensor, size: tuple[int, int], min_area: float, seed: tf.Tensor
) -> tf.Tensor:
    """Random crop of random area and aspect ratio, resized (Szegedy et al., 2015).

    The area is uniform in (`min_area`, 1) of the image, the aspect ratio in (3/4, 4/3), as in
    big_vision. A JPEG is decoded only where the crop lies, and turned upright by its EXIF
    orientation, as in evaluation.

    Args:
        encoded: string scalar, an image of any format that `decode_rgb` knows.
        size: height and width of the result.
        min_area: smallest share of the image's area, in (0, 1].
        seed: two integers.

    Returns:
        float32 `[height, width, 3]` in [0, 255].
    """

    def from_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(encoded)
        window = _sample_window(shape, min_area, seed)
        crop = tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method="INTEGER_FAST")
        return turn_upright(crop, orientation(encoded))

    def from_other() -> tf.Tensor:
        image = decode_rgb(encoded)
        top, left, height, width = tf.unstack(_sample_window(tf.shape(image), min_area, seed))
        return image[top : top + height, left : left + width]

    crop = tf.cond(starts_as(encoded, JPEG), from_jpeg, from_other)
    crop.set_shape([None, None, 3])
    return _resize(crop, size)


def whole_image(encoded: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The whole image resized to `size`: float32 `[height, width, 3]` in [0, 255]."""
    return _resize(decode_rgb(encoded), size)


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror left to right with probability one half."""
    return tf.image.stateless_random_flip_left_right(image, seed)


def _sample_window(shape: tf.Tensor, min_area: float, seed: tf.Tensor) -> tf.Tensor:
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


def _resize(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    # Bilinear, not antialiased: as big_vision trains. In float32, for which TensorFlow has vector
    # code; the values are the same.
    resized = tf.image.resize(tf.cast(image, tf.float32), size)
    return tf.ensure_shape(resized, [*size, 3])
