"""EXIF orientation of JPEG files, as TensorFlow operations: the SavedModel needs it too.

TensorFlow's decoders ignore the orientation that cameras write, so that a portrait photograph lies
on its side. `beam_jobs` applies it when it writes a dataset; served images need the same.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

SEARCHED_BYTES = 4096
"""Where the EXIF segment is looked for at first: it begins the file, or follows JFIF's. Only in a
larger file, for it costs as much as decoding a small image, all segments are walked after that."""
MOST_SEGMENTS = 4096
SEGMENT_HEAD = 10
"""Bytes of a segment that tell what it is: marker, length, and the name of an EXIF segment."""
DIRECTORY_BYTES = 1024
"""Bytes after the start of the EXIF data that are read: the first directory stands there."""
UPRIGHT = 1
ORIENTATION_TAG = 0x0112
EXIF = b"Exif\0\0"
APP1 = 0xE1
CONTAINS_EXIF = rb"\C*Exif\x00\x00\C*"
"""One operation for the many files without EXIF; \\C is any byte, in whatever encoding."""
BIG_ENDIAN = ord("M")
ENTRY_BYTES = 12


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """EXIF orientation, int32 scalar from 1 to 8; 1 (upright) where there is none that is valid.

    Args:
        encoded: string scalar, the bytes of a JPEG file.
    """
    head = tf.strings.substr(encoded, 0, SEARCHED_BYTES)
    return tf.case(
        [
            (
                tf.strings.regex_full_match(head, CONTAINS_EXIF),
                lambda: _orientation_after_exif(encoded, head),
            ),
            (
                tf.strings.length(encoded) > SEARCHED_BYTES,
                lambda: _orientation_in_segments(encoded),
            ),
        ],
        lambda: tf.constant(UPRIGHT),
    )


def peek(encoded: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """The `count` bytes from `position` on, int32; zeros behind the end of `encoded`."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    start = tf.clip_by_value(tf.cast(position, tf.int64), 0, length)
    part = tf.strings.substr(encoded, start, tf.constant(count, tf.int64))
    # TensorFlow's kernel takes no string without a byte.
    part = tf.strings.join([part, bytes(count)])
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int32)


def find_segment(encoded: tf.Tensor, is_wanted: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Position of a segment of a JPEG file, int64 []; -1 where none stands before the image data.

    Bytes between segments are skipped as libjpeg does.

    Args:
        encoded: string [], the bytes of a JPEG file.
        is_wanted: takes the first `SEGMENT_HEAD` bytes of a segment, int32, its marker included.
    """

    def is_searching(position: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        inside = position < tf.cast(tf.strings.length(encoded), tf.int64)
        return inside & tf.logical_not(found)

    def advance(position: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = peek(encoded, position, SEGMENT_HEAD)
        marker, length = head[1], head[2] * 256 + head[3]
        no_marker = (head[0] != 0xFF) | (marker == 0xFF)
        empty = (marker == 0x00) | (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD8))
        is_end = (marker == 0xD9) | (marker == 0xDA) | (length < 2)
        step = tf.where(no_marker, 1, tf.where(empty, 2, 2 + length))
        is_segment = tf.logical_not(no_marker | empty)
        end = tf.cast(tf.strings.length(encoded), tf.int64)
        found = is_segment & tf.logical_not(is_end) & is_wanted(head)
        following = tf.where(is_segment & is_end, end, position + tf.cast(step, tf.int64))
        return tf.where(found, position, following), found

    position, found = tf.while_loop(
        is_searching,
        advance,
        (tf.constant(2, tf.int64), tf.constant(False)),
        maximum_iterations=MOST_SEGMENTS,
    )
    return tf.where(found, position, tf.constant(-1, tf.int64))


def turn_upright(image: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Undo an EXIF orientation.

    Args:
        image: `[h, w, channels]`.
        value: orientation, int32 scalar from 1 to 8.

    Returns:
        The image upright; height and width change places for 5 to 8.
    """
    turned = [
        lambda: image,
        lambda: image[:, ::-1],
        lambda: image[::-1, ::-1],
        lambda: image[::-1],
        lambda: _transposed(image),
        lambda: _transposed(image)[:, ::-1],
        lambda: _transposed(image)[::-1, ::-1],
        lambda: _transposed(image)[::-1],
    ]
    return tf.cond(
        tf.equal(value, UPRIGHT), lambda: image, lambda: tf.switch_case(value - 1, turned)
    )


def _transposed(image: tf.Tensor) -> tf.Tensor:
    # By gathering: where oneDNN cannot transpose uint8, tf.transpose complains on stderr.
    height, width, channels = tf.unstack(tf.shape(image))
    source = tf.range(height)[None, :] * width + tf.range(width)[:, None]
    pixels = tf.gather(tf.reshape(image, [-1, channels]), tf.reshape(source, [-1]))
    return tf.reshape(pixels, [width, height, channels])


def _orientation_after_exif(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    data = tf.io.decode_raw(head, tf.uint8)
    places = tf.size(data) - len(EXIF) + 1
    here = tf.ones([places], tf.bool)
    for offset, byte in enumerate(EXIF):
        here &= data[offset : offset + places] == byte
    return _orientation_at(encoded, tf.argmax(here, output_type=tf.int32) + len(EXIF))


def _orientation_in_segments(encoded: tf.Tensor) -> tf.Tensor:
    name = tf.constant(list(EXIF))
    position = find_segment(
        encoded, lambda head: (head[1] == APP1) & tf.reduce_all(head[4:] == name)
    )
    return tf.cond(
        position < 0,
        lambda: tf.constant(UPRIGHT),
        lambda: _orientation_at(encoded, tf.cast(position, tf.int32) + SEGMENT_HEAD),
    )


def _orientation_at(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    tiff = tf.io.decode_raw(tf.strings.substr(encoded, start, DIRECTORY_BYTES), tf.uint8)
    return _read(tf.pad(tf.cast(tiff, tf.int32), [[0, 8]]))


def _read(tiff: tf.Tensor) -> tf.Tensor:
    """Orientation in the first directory of a TIFF structure, int32 bytes, 8 or more."""
    big = tiff[0] == BIG_ENDIAN

    def number(digits: tf.Tensor) -> tf.Tensor:
        """Integers from their bytes on the last axis."""
        ordered = tf.cond(big, lambda: digits[..., ::-1], lambda: digits)
        scale = tf.constant([1, 256, 65_536, 16_777_216])[: tf.shape(digits)[-1]]
        return tf.reduce_sum(ordered * scale, axis=-1)

    directory = tf.clip_by_value(number(tiff[4:8]), 0, tf.size(tiff))
    count = number(tf.pad(tiff[directory : directory + 2], [[0, 2]])[:2])
    entries = tiff[directory + 2 : directory + 2 + count * ENTRY_BYTES]
    entries = tf.reshape(
        entries[: tf.size(entries) // ENTRY_BYTES * ENTRY_BYTES], [-1, ENTRY_BYTES]
    )
    tagged = tf.equal(number(entries[:, :2]), ORIENTATION_TAG)
    values = tf.boolean_mask(number(entries[:, 8:10]), tagged)
    value = tf.concat([values, [UPRIGHT]], axis=0)[0]
    return tf.where((value >= 1) & (value <= 8), value, UPRIGHT)
