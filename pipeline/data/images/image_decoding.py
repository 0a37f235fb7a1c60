"""Encoded images to RGB: one frame, transparency on white, nothing decoded in vain.

Training, evaluation, `classify` and the exported SavedModel all decode with these functions, so
that they see the same pixels. TensorFlow's decoders know no transparency in GIF, no palette in BMP,
no animation with three channels in WebP and no gray of few bits in PNG, and they decode every frame
of an animation, so that a file of few bytes can fill the memory. So a GIF or WebP is cut down to
its first frame before it is decoded, and a BMP is read here.
"""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.images.exif import orientation, peek, turn_upright
from pipeline.data.images.image_header import JPEG, PNG, little, read_format, signed, starts_as

MOST_BLOCKS = 64
"""Extensions of a GIF, or chunks of a WebP, that may stand before the first frame."""
BYTES = [bytes([value]) for value in range(256)]  # no tensor: workers begin with none
GRAY_OF_FEW_BITS = (b"\1\0", b"\2\0", b"\4\0")
"""Depth and kind in the header of a PNG."""
GIF_HEAD = 13
GIF_DESCRIPTOR = 10
EXTENSION, DESCRIPTOR, GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9
WHITE = b"\xff\xff\xff"
BMP_PALETTE_BYTES = 1024
"""Of 256 entries, the most that there are."""
BMP_MASKS = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"
"""Red, green and blue of the one arrangement of 32 bits that is in use."""


def decode_rgb(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG, PNG, GIF, BMP or WebP, string [], to uint8 [h, w, 3]; see `decode_format`."""
    # JPEG and PNG first: to ask for every format takes as long as decoding a small image.
    image = tf.case(
        [
            (starts_as(encoded, JPEG), lambda: _jpeg(encoded)),
            (starts_as(encoded, PNG), lambda: _png(encoded)),
        ],
        lambda: _rare(encoded),
    )
    image.set_shape([None, None, 3])
    return image


# Traced once, and not inlined into every dataset: each of its iterators would optimize it again.
@tf.function(  # type: ignore[untyped-decorator]
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _rare(encoded: tf.Tensor) -> tf.Tensor:
    return decode_format(encoded, read_format(encoded))


def decode_format(encoded: tf.Tensor, file_format: tf.Tensor) -> tf.Tensor:
    """Decode an image to uint8 [h, w, 3].

    The first frame of an animation; transparent pixels on white; a JPEG upright by its EXIF
    orientation. Not read are BMPs of 16 bits or with run-length encoding, and OS/2's.

    Args:
        encoded: string [].
        file_format: of `image_header.read_format`.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are none of the formats, or are damaged.
    """

    def none() -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(False, ["not an image"])]):
            return tf.zeros([1, 1, 3], tf.uint8)

    readers = [
        lambda: _jpeg(encoded),
        lambda: _png(encoded),
        lambda: _gif(encoded),
        lambda: _bmp(encoded),
        lambda: _webp(encoded),
        none,
    ]
    image = tf.switch_case(file_format, readers)
    image.set_shape([None, None, 3])
    return image


def on_white(image: tf.Tensor) -> tf.Tensor:
    """Lay uint8 `[h, w, 3 or 4]` on white: uint8 `[h, w, 3]`.

    In 16 bits, which are exact here, for the intermediate results are what takes most memory.
    """

    def blended() -> tf.Tensor:
        alpha = tf.cast(image[..., 3:], tf.uint16)
        rgb = tf.cast(image[..., :3], tf.uint16)
        total = rgb * alpha + (255 - alpha) * 255 + 127  # at most 255 * 255 + 127 < 65536
        return tf.cast(total // 255, tf.uint8)

    transparent = tf.logical_and(
        tf.shape(image)[2] == 4, tf.reduce_any(tf.not_equal(image[..., 3:], 255))
    )
    return tf.cond(transparent, blended, lambda: image[..., :3])


def _cut(text: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """`text[start : start + length]`, shorter where `text` ends."""
    end = tf.cast(tf.strings.length(text), tf.int64)
    start = tf.clip_by_value(tf.cast(start, tf.int64), 0, end)
    return tf.strings.substr(text, start, tf.maximum(tf.cast(length, tf.int64), 0))


def _jpeg(encoded: tf.Tensor) -> tf.Tensor:
    return turn_upright(tf.io.decode_jpeg(encoded, channels=3), orientation(encoded))


def _png(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_png(encoded, channels=4)
    depth_and_kind = tf.strings.substr(encoded, 24, 2)

    # Gray of 1, 2 or 4 bits gets from TensorFlow 1, 3 or 15 for an opaque pixel instead of 255.
    def mended() -> tf.Tensor:
        depth = tf.cast(tf.io.decode_raw(depth_and_kind, tf.uint8)[0], tf.int32)
        opaque = tf.cast(tf.bitwise.left_shift(1, depth) - 1, tf.uint8)
        alpha = tf.where(image[..., 3:] == opaque, tf.constant(255, tf.uint8), image[..., 3:])
        return tf.concat([image[..., :3], alpha], axis=-1)

    few_bits = tf.reduce_any(depth_and_kind == tf.constant(GRAY_OF_FEW_BITS))
    return on_white(tf.cond(few_bits, mended, lambda: image))


def _gif(encoded: tf.Tensor) -> tf.Tensor:
    head = peek(encoded, 0, GIF_HEAD)
    table_bytes = _gif_table_bytes(head[10])
    table = _cut(encoded, GIF_HEAD, table_bytes)
    start, transparent = _gif_first_frame(encoded, GIF_HEAD + table_bytes)
    descriptor = peek(encoded, start, GIF_DESCRIPTOR)
    own_table_bytes = _gif_table_bytes(descriptor[9])
    data = start + GIF_DESCRIPTOR + own_table_bytes
    end = _gif_blocks_end(encoded, data + 1)  # behind a byte, the width of the codes
    # TensorFlow's decoder shows a transparent pixel in the color of its palette: made white.
    first_frame = tf.strings.join(
        [
            _cut(encoded, 0, GIF_HEAD),
            _white_entry(table, transparent),
            b"\x2c\0\0\0\0",  # its place, which TensorFlow's decoder crops to, is restored below
            _cut(encoded, start + 5, GIF_DESCRIPTOR - 5),
            _white_entry(_cut(encoded, start + GIF_DESCRIPTOR, own_table_bytes), transparent),
            _cut(encoded, data, end - data),
            b";",
        ]
    )
    left, top, width, height = (
        tf.cast(little(descriptor[at : at + 2]), tf.int32) for at in (1, 3, 5, 7)
    )
    right = tf.cast(little(head[6:8]), tf.int32) - left - width
    below = tf.cast(little(head[8:10]), tf.int32) - top - height
    whole = end <= tf.cast(tf.strings.length(encoded), tf.int64)
    sound = tf.logical_and(whole, tf.minimum(right, below) >= 0)
    with tf.control_dependencies(
        [tf.debugging.Assert(sound, ["a GIF cut off, or a frame outside of it"])]
    ):
        frame = tf.io.decode_gif(first_frame)[0]
    return tf.pad(frame, [[top, below], [left, right], [0, 0]], constant_values=255)


def _gif_table_bytes(flags: tf.Tensor) -> tf.Tensor:
    size = 3 * tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.cast(flags % 8 + 1, tf.int64))
    return tf.where(flags >= 128, size, tf.constant(0, tf.int64))


def _white_entry(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """A color table with an entry made white; as it is where the index is -1 or outside."""
    place = 3 * tf.maximum(index, 0)
    there = (index >= 0) & (place < tf.cast(tf.strings.length(table), tf.int64))
    changed = tf.strings.join([_cut(table, 0, place), WHITE, _cut(table, place + 3, 1 << 10)])
    return tf.where(there, changed, table)


def _gif_first_frame(encoded: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Position of the first image descriptor, and the transparent index or -1: int64 []."""

    def is_extension(position: tf.Tensor, transparent: tf.Tensor) -> tf.Tensor:
        return peek(encoded, position, 1)[0] == EXTENSION

    def skip(position: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        block = tf.cast(peek(encoded, position, 7), tf.int64)
        controls = block[1] == GRAPHIC_CONTROL
        index = tf.where(block[3] % 2 == 1, block[6], tf.constant(-1, tf.int64))
        end = _gif_blocks_end(encoded, position + 2)
        return end, tf.where(controls, index, transparent)

    found, transparent = tf.while_loop(
        is_extension, skip, (start, tf.constant(-1, tf.int64)), maximum_iterations=MOST_BLOCKS
    )
    with tf.control_dependencies(
        [tf.debugging.assert_equal(peek(encoded, found, 1)[0], DESCRIPTOR, "no frame in the GIF")]
    ):
        return tf.identity(found), transparent


def _gif_blocks_end(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Where a chain of sub-blocks, each behind its length, ends: behind the one of length 0."""

    def is_block(position: tf.Tensor) -> tf.Tensor:
        return peek(encoded, position, 1)[0] > 0  # 0 behind the end of the file, too

    def skip(position: tf.Tensor) -> tuple[tf.Tensor]:
        return (position + 1 + tf.cast(peek(encoded, position, 1)[0], tf.int64),)

    (end,) = tf.while_loop(is_block, skip, (start,))
    return end + 1


def _webp(encoded: tf.Tensor) -> tf.Tensor:
    head = peek(encoded, 0, 30)
    extended = tf.equal(_cut(encoded, 8, 8), b"WEBPVP8X")
    animated = extended & (tf.bitwise.bitwise_and(head[20], 2) > 0)

    def still() -> tf.Tensor:
        return on_white(tf.raw_ops.DecodeWebP(contents=encoded, channels=0)[0])

    def first_frame() -> tf.Tensor:
        start = _webp_first_frame(encoded)
        chunk = peek(encoded, start, 24)
        size = little(chunk[4:8])
        # The frame as a file of its own: its header gives width and height as VP8X does.
        content = tf.strings.join(
            [
                b"WEBPVP8X\x0a\0\0\0\x10\0\0\0",  # with transparency
                _cut(encoded, start + 14, 6),
                _cut(encoded, start + 24, size - 16),
            ]
        )
        length = tf.cast(tf.strings.length(content), tf.int32)
        digits = tf.bitwise.right_shift(length, tf.constant([0, 8, 16, 24])) % 256
        file = tf.strings.join([b"RIFF", tf.strings.reduce_join(tf.gather(BYTES, digits)), content])
        frame = on_white(tf.raw_ops.DecodeWebP(contents=file, channels=0)[0])
        left, top = (2 * tf.cast(little(chunk[at : at + 3]), tf.int32) for at in (8, 11))
        canvas_width, canvas_height = (
            tf.cast(little(head[at : at + 3]), tf.int32) + 1 for at in (24, 27)
        )
        below = canvas_height - top - tf.shape(frame)[0]
        right = canvas_width - left - tf.shape(frame)[1]
        return tf.pad(frame, [[top, below], [left, right], [0, 0]], constant_values=255)

    return tf.cond(animated, first_frame, still)


def _webp_first_frame(encoded: tf.Tensor) -> tf.Tensor:
    """Position of the first ANMF chunk, int64 []."""

    def is_other(position: tf.Tensor) -> tf.Tensor:
        return tf.not_equal(_cut(encoded, position, 4), b"ANMF")

    def skip(position: tf.Tensor) -> tuple[tf.Tensor]:
        size = little(peek(encoded, position + 4, 4))
        return (position + 8 + size + size % 2,)

    (found,) = tf.while_loop(
        is_other, skip, (tf.constant(30, tf.int64),), maximum_iterations=MOST_BLOCKS
    )
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.logical_not(is_other(found)), ["no frame in the WebP"])]
    ):
        return tf.identity(found)


def _bmp(encoded: tf.Tensor) -> tf.Tensor:
    head = peek(encoded, 0, 70)
    header_bytes, width, height = little(head[14:18]), signed(head[18:22]), signed(head[22:26])
    bits, packing = little(head[28:30]), little(head[30:34])
    rows = tf.abs(height)
    stride = (bits * width + 31) // 32 * 4  # rows are padded to four bytes
    plain = packing == 0
    masked = (packing == 3) & (bits == 32) & tf.equal(_cut(encoded, 54, 12), BMP_MASKS)
    known = tf.logical_and(header_bytes >= 40, tf.logical_or(plain, masked))
    with tf.control_dependencies([tf.debugging.Assert(known, ["a BMP of a kind not read"])]):
        data = tf.io.decode_raw(_cut(encoded, little(head[10:14]), stride * rows), tf.uint8)
    data = tf.reshape(data, tf.stack([rows, stride]))
    shape = tf.stack([rows, width, -1])

    def palette(bits: int) -> tf.Tensor:
        shifts = tf.constant(list(range(8 - bits, -1, -bits)), tf.uint8)
        parts = tf.bitwise.right_shift(data[..., None], shifts)
        parts = tf.bitwise.bitwise_and(parts, tf.constant((1 << bits) - 1, tf.uint8))
        index = tf.reshape(parts, tf.stack([rows, -1]))[:, :width]
        entries = peek(encoded, 14 + header_bytes, BMP_PALETTE_BYTES)
        colors = tf.cast(tf.reshape(entries, [256, 4])[:, 2::-1], tf.uint8)
        return tf.gather(colors, tf.cast(index, tf.int32))

    def direct() -> tf.Tensor:
        pixels = tf.reshape(data[:, : width * (bits // 8)], shape)
        return pixels[..., 2::-1]

    def with_alpha() -> tf.Tensor:
        pixels = tf.reshape(data, shape)
        return on_white(tf.concat([pixels[..., 2::-1], pixels[..., 3:]], axis=-1))

    has_alpha = masked & (header_bytes >= 56) & tf.equal(_cut(encoded, 66, 4), b"\0\0\0\xff")
    image = tf.case(
        [
            (has_alpha, with_alpha),
            ((bits == 24) | (bits == 32), direct),
            (bits == 8, lambda: palette(8)),
            (bits == 4, lambda: palette(4)),
            (bits == 1, lambda: palette(1)),
        ],
        lambda: tf.reshape(data, tf.constant([0, 0, 3])),  # fails
    )
    return tf.cond(height > 0, lambda: image[::-1], lambda: image)
