"""Format, height and width of an encoded image, read from its header: before anything is decoded.

TensorFlow operations, for the SavedModel needs them. What is read is what the decoders read
(libjpeg-turbo, libpng, giflib, libwebp), so that no file can name one size here and another there.
"""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.images.exif import find_segment, peek

JPEG, PNG, GIF, BMP, WEBP, UNKNOWN = range(6)
"""Formats, in the order of `MAGIC`."""
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF")
HEAD_BYTES = 32
START_OF_FRAME = [code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)]


def starts_as(encoded: tf.Tensor, file_format: int) -> tf.Tensor:
    """Whether `encoded`, string [], begins as files of one format do: bool []."""
    magic = MAGIC[file_format]
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def read_format(encoded: tf.Tensor) -> tf.Tensor:
    """Which of the formats `encoded`, string [], begins as: int32 []."""
    starts = [starts_as(encoded, file_format) for file_format in range(len(MAGIC))]
    return tf.argmax(tf.stack([*starts, True]), output_type=tf.int32)


def read_size(encoded: tf.Tensor, file_format: tf.Tensor) -> tf.Tensor:
    """Height and width, int64 [2], that the header of `encoded` names; zeros where it names none.

    Args:
        encoded: string [].
        file_format: of `read_format`.
    """
    head = peek(encoded, 0, HEAD_BYTES)
    nothing = tf.zeros([2], tf.int64)

    def jpeg() -> tf.Tensor:
        position = find_segment(
            encoded, lambda segment: tf.reduce_any(segment[1] == tf.constant(START_OF_FRAME))
        )
        segment = peek(encoded, tf.maximum(position, 0), HEAD_BYTES)
        size = tf.stack([_big(segment[5:7]), _big(segment[7:9])])
        return tf.where(position < 0, nothing, size)

    def png() -> tf.Tensor:
        return tf.stack([_big(head[20:24]), _big(head[16:20])])

    def gif() -> tf.Tensor:
        return tf.stack([little(head[8:10]), little(head[6:8])])

    def bmp() -> tf.Tensor:
        # A negative height says that the rows stand from top to bottom.
        return tf.stack([tf.abs(signed(head[22:26])), signed(head[18:22])])

    def webp() -> tf.Tensor:
        extended = tf.stack([little(head[27:30]), little(head[24:27])]) + 1
        lossy = tf.stack([little(head[28:30]), little(head[26:28])]) % (1 << 14)
        packed = little(head[21:25])
        lossless = tf.stack([packed // (1 << 14), packed]) % (1 << 14) + 1
        kind = tf.strings.substr(tf.strings.join([encoded, bytes(HEAD_BYTES)]), 8, 8)
        return tf.case(
            [
                (tf.equal(kind, b"WEBPVP8X"), lambda: extended),
                (tf.equal(kind, b"WEBPVP8L"), lambda: lossless),
                (tf.equal(kind, b"WEBPVP8 "), lambda: lossy),
            ],
            lambda: nothing,
        )

    return tf.switch_case(file_format, [jpeg, png, gif, bmp, webp, lambda: nothing])


def little(digits: tf.Tensor) -> tf.Tensor:
    """Unsigned integer, int64 [], of bytes in little-endian order, int32 [up to 4]."""
    scale = tf.constant([1, 1 << 8, 1 << 16, 1 << 24], tf.int64)
    return tf.reduce_sum(tf.cast(digits, tf.int64) * scale[: tf.size(digits)])


def signed(digits: tf.Tensor) -> tf.Tensor:
    """Two's complement integer, int64 [], of four bytes in little-endian order."""
    value = little(digits)
    return tf.where(value >= 1 << 31, value - (1 << 32), value)


def _big(digits: tf.Tensor) -> tf.Tensor:
    return little(digits[::-1])
