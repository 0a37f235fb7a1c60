"""Operations on uint8 images `[height, width, 3]` of static size: RandAugment's and 3-Augment's.

They compute what Pillow's operations of the same name do (see the tests for how closely), with the
geometry of big_vision: nearest pixel, corners as coordinates, gray where nothing is left. Each is
made of few passes over the image, for this runs on the host for every training image; `tf.where`
and table look-ups cost ten times as much there as arithmetic on whole images, and of the look-ups
`tf.gather` a third more than `tf.gather_nd`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipeline.data.images.augment_preset import BLUR_PIXELS

FILL = 128
"""Gray of the pixels that come from outside of the image."""
BLUR_REACH = BLUR_PIXELS // 2
"""Pixels that a blur reads on either side: three boxes of 5."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in Pillow's gray (ITU-R 601)."""


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel to [0, 255]; a channel of one value stays."""
    rows = tf.cast(_rows(image), tf.float32)
    low = _per_channel(tf.reduce_min, rows)
    high = _per_channel(tf.reduce_max, rows)
    stretch = high > low
    scale = tf.where(stretch, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    offset = tf.where(stretch, -low * scale, 0.0)
    width = image.shape[1]
    # The smallest nudge against 254.99999: the result is cut, not rounded, as Pillow's is.
    stretched = rows * tf.tile(scale, [width]) + tf.tile(offset + 1e-3, [width])
    return tf.reshape(_to_uint8(stretched), image.shape)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Equalize the histogram of each channel."""
    width = image.shape[1]
    entries = tf.cast(_rows(image), tf.int32) + tf.tile([0, 256, 512], [width])
    counts = tf.raw_ops.Bincount(
        arr=tf.reshape(entries, [-1]), size=3 * 256, weights=tf.constant([], tf.int32)
    )
    counts = tf.reshape(counts, [3, 256])
    brightest = 255 - tf.argmax(counts[:, ::-1] > 0, axis=1, output_type=tf.int32)
    last = tf.gather(counts, brightest, batch_dims=1)
    step = (tf.reduce_sum(counts, axis=1) - last)[:, None] // 255
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    looked_up = tf.gather_nd(tf.cast(tf.reshape(table, [-1]), tf.uint8), entries[..., None])
    return tf.reshape(looked_up, image.shape)


def invert(image: tf.Tensor) -> tf.Tensor:
    """Negative."""
    return 255 - image


def posterize(image: tf.Tensor, bits: int) -> tf.Tensor:
    """Keep the `bits` highest bits of each value, but at least one.

    big_vision means to keep none at level 0; TensorFlow shifts uint8 by 7 bits at most, so that
    what it trained with is one bit.
    """
    kept = max(bits, 1)
    return tf.bitwise.bitwise_and(image, tf.constant(256 - (1 << (8 - kept)), tf.uint8))


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
    """Invert the values from `threshold`, in [0, 256], on."""
    if threshold > 255:
        return image
    inverted = tf.cast(image >= tf.constant(threshold, tf.uint8), tf.uint8) * 255
    return tf.bitwise.bitwise_xor(image, inverted)


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
    """Add to the values below 128; none rises above 255."""
    added = tf.minimum(255 - image, tf.constant(min(addition, 255), tf.uint8))
    return image + tf.cast(image < 128, tf.uint8) * added


def grayscale(image: tf.Tensor) -> tf.Tensor:
    """Pillow's gray in all three channels, exactly: its products of 16 bits fit into a float32."""
    weights = np.outer(np.round(np.array(LUMA) * 2**16), np.ones(3))
    gray = _mix_channels(image, weights) + 2.0**15
    return tf.reshape(tf.cast(gray * 2.0**-16, tf.uint8), image.shape)


def color(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Away from gray (`factor` above 1) or towards it (0: gray)."""
    mixed = _mix_channels(image, np.eye(3), factor, np.outer(LUMA, np.ones(3)))
    return tf.reshape(_to_uint8(mixed), image.shape)


def contrast(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Away from the image's mean gray, or towards it."""
    rows = tf.cast(_rows(image), tf.float32)
    mean = tf.floor(tf.reduce_sum(_per_channel(tf.reduce_mean, rows) * LUMA) + 0.5)
    return tf.reshape(_to_uint8(rows * factor + mean * (1 - factor)), image.shape)


def brightness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Away from black, or towards it."""
    return _to_uint8(tf.cast(image, tf.float32) * factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Away from the image smoothed by 3×3 pixels, or towards it; the border stays."""
    rows = tf.cast(_rows(image), tf.float32)
    center = rows[1:-1, 3:-3]
    columns = rows[:-2] + rows[1:-1] + rows[2:]
    total = columns[:, :-6] + columns[:, 3:-3] + columns[:, 6:] + 4 * center
    smooth = tf.floor(total * (1 / 13) + 0.5)
    change = tf.pad((center - smooth) * (factor - 1), [[1, 1], [3, 3]])
    return tf.reshape(_to_uint8(rows + change), image.shape)


def cutout(image: tf.Tensor, radius: int, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """Gray square of side `2 * radius` around pixel (row, column), as far as it is inside."""
    height, width, _ = image.shape
    top, bottom = tf.maximum(row - radius, 0), tf.minimum(row + radius, height)
    left, right = tf.maximum(column - radius, 0), tf.minimum(column + radius, width)
    return paste(
        image, tf.fill([bottom - top, right - left, 3], tf.constant(FILL, tf.uint8)), top, left
    )


def paste(image: tf.Tensor, patch: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    """Lay `patch`, `[h, w, 3]`, over the image, its first pixel at (top, left)."""
    bottom, right = top + tf.shape(patch)[0], left + tf.shape(patch)[1]
    band = tf.concat([image[top:bottom, :left], patch, image[top:bottom, right:]], axis=1)
    return tf.ensure_shape(tf.concat([image[:top], band, image[bottom:]], axis=0), image.shape)


def gaussian_blur(image: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Pillow's GaussianBlur: three box blurs along either axis, the border repeated in each.

    Here they are one kernel, and one matrix for the pixels at the border that a box leaves the
    image from. Pillow rounds after each box, which makes its blurs of little radius weaker.

    Args:
        image: uint8 `[height, width, 3]`, of at least `BLUR_PIXELS` each way.
        radius: deviation in pixels, float32 scalar in (0, 2.4], for which boxes have 5 pixels.
    """
    blur = _three_boxes(radius)
    kernel = blur[BLUR_PIXELS - 1, BLUR_REACH:-BLUR_REACH]
    border = blur[:BLUR_REACH, : 2 * BLUR_REACH]
    height, width, channels = image.shape
    rows = tf.cast(_rows(image), tf.float32)
    middle = tf.nn.depthwise_conv2d(
        rows[None, :, None],
        tf.tile(kernel[:, None, None, None], [1, 1, width * channels, 1]),
        [1, 1, 1, 1],
        "VALID",
    )[0, :, 0]
    top = tf.matmul(border, rows[: 2 * BLUR_REACH])
    bottom = tf.matmul(border, rows[: -2 * BLUR_REACH - 1 : -1])[::-1]
    pixels = tf.reshape(tf.concat([top, middle, bottom], axis=0), [height, width, channels])
    middle = tf.nn.depthwise_conv2d(
        pixels[None],
        tf.tile(kernel[None, :, None, None], [1, 1, channels, 1]),
        [1, 1, 1, 1],
        "VALID",
    )[0]
    left = tf.einsum("oi,ric->roc", border, pixels[:, : 2 * BLUR_REACH])
    right = tf.einsum("oi,ric->roc", border[::-1, ::-1], pixels[:, -2 * BLUR_REACH :])
    return _to_uint8(tf.concat([left, middle, right], axis=1) + 0.5)


def _three_boxes(radius: tf.Tensor) -> tf.Tensor:
    """What three box blurs of the variance of `radius` make of a line of 25 pixels: `[25, 25]`."""
    variance = tf.square(radius) / 3
    whole = tf.floor((tf.sqrt(12 * variance + 1) - 1) / 2)  # pixels on either side that count fully
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    part /= 6 * (variance - tf.square(whole + 1))  # and how much the next one does
    distance = tf.abs(tf.range(-2.0, 3.0))
    box = tf.where(distance <= whole, 1.0, tf.where(distance == whole + 1, part, 0.0))
    line = np.arange(2 * BLUR_PIXELS - 1)
    moved = [np.eye(len(line))[np.clip(line + step, 0, len(line) - 1)] for step in range(-2, 3)]
    once = tf.tensordot(box / tf.reduce_sum(box), tf.constant(np.stack(moved), tf.float32), 1)
    return tf.matmul(once, tf.matmul(once, once))


def translate_x(image: tf.Tensor, pixels: int, to_left: tf.Tensor) -> tf.Tensor:
    """Move the content by so many pixels."""
    pixels = min(pixels, image.shape[1])
    gap = tf.fill([image.shape[0], pixels, 3], tf.constant(FILL, tf.uint8))
    return tf.cond(
        to_left,
        lambda: tf.concat([image[:, pixels:], gap], axis=1),
        lambda: tf.concat([gap, image[:, : image.shape[1] - pixels]], axis=1),
    )


def translate_y(image: tf.Tensor, pixels: int, up: tf.Tensor) -> tf.Tensor:
    """Move the content by so many pixels."""
    pixels = min(pixels, image.shape[0])
    gap = tf.fill([pixels, image.shape[1], 3], tf.constant(FILL, tf.uint8))
    return tf.cond(
        up,
        lambda: tf.concat([image[pixels:], gap], axis=0),
        lambda: tf.concat([gap, image[: image.shape[0] - pixels]], axis=0),
    )


def move_pixels(image: tf.Tensor, sources: tf.Tensor) -> tf.Tensor:
    """Take each pixel from where `sources`, of `rotated` or `sheared`, says."""
    fill = tf.constant(FILL, tf.uint8, [1, 3])
    pixels = tf.concat([tf.reshape(image, [-1, 3]), fill], axis=0)
    return tf.reshape(tf.gather_nd(pixels, sources[:, None]), image.shape)


def rotated(size: tuple[int, int], degrees: float) -> np.ndarray:
    """Sources of a rotation about the center: int32 `[height * width]` for `move_pixels`."""
    height, width = size
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    y, x = np.mgrid[:height, :width] - np.array([height - 1, width - 1]).reshape(2, 1, 1) / 2
    return _sources(
        size,
        sin * x + cos * y + (height - 1) / 2,
        cos * x - sin * y + (width - 1) / 2,
    )


def sheared(size: tuple[int, int], x_by_y: float = 0.0, y_by_x: float = 0.0) -> np.ndarray:
    """Sources of a shear from the top left corner: int32 `[height * width]`."""
    y, x = np.mgrid[: size[0], : size[1]]
    return _sources(size, y + y_by_x * x, x + x_by_y * y)


def _sources(size: tuple[int, int], y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Number of the pixel nearest to each place; that after the last, outside of the image."""
    height, width = size
    row, column = np.floor(y + 0.5).astype(np.int32), np.floor(x + 0.5).astype(np.int32)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return np.where(inside, row * width + column, height * width).astype(np.int32).reshape(-1)


def _mix_channels(
    image: tf.Tensor,
    matrix: np.ndarray,
    factor: float | tf.Tensor = 1.0,
    other: np.ndarray | None = None,
) -> tf.Tensor:
    """Each pixel times `factor * matrix + (1 - factor) * other`, both `[3, 3]`: float32."""
    # As many pixels in one row as divide the image, up to four: products of 3×3 matrices are slow.
    together = math.gcd(4, image.shape[0] * image.shape[1])
    mix = tf.constant(np.kron(np.eye(together), matrix), tf.float32)
    if other is not None:
        rest = tf.constant(np.kron(np.eye(together), other), tf.float32)
        mix = factor * mix + (1.0 - factor) * rest
    return tf.matmul(tf.reshape(tf.cast(image, tf.float32), [-1, 3 * together]), mix)


def _rows(image: tf.Tensor) -> tf.Tensor:
    """`[height, width * 3]`: what differs by channel is then repeated along a long last axis."""
    height, width, channels = image.shape
    return tf.reshape(image, [height, width * channels])


def _per_channel(reduce: Callable[..., tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
    """Reduce `[height, width * 3]` to float32 `[3]`."""
    columns = tf.cast(reduce(rows, axis=0), tf.float32)
    return reduce(tf.reshape(columns, [-1, 3]), axis=0)


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Cut off to whole numbers in [0, 255], as Pillow does."""
    return tf.cast(tf.maximum(tf.minimum(values, 255.0), 0.0), tf.uint8)
