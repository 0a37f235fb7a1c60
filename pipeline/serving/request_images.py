"""The encoded images of one request to what the model sees; a bad one fails none of the others."""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.images.image_decoding import decode_format
from pipeline.data.images.image_header import read_format, read_size
from pipeline.data.images.preprocess import EvalPreprocess

MAX_PIXELS = 1 << 26
"""Largest image that is decoded, as its header has it: 67 megapixels."""
MAX_BYTES = 3 << 29
"""Most memory that decoding and resizing one image may take, 1.6 GB. An image of few pixels, but
thousands of times as wide as high, would take more than one of the largest size."""
PARALLEL_BYTES = 1 << 29
"""Most memory for images that are decoded at the same time, 0.5 GB, unless one alone takes more."""
MOST_PARALLEL = 16
DECODED_BYTES = 16
"""Most memory that decoding takes for a pixel: for a transparent one, laid on white."""
RESIZED_BYTES = 12
"""Three float32."""


# nothing to convert, and looking for it takes seconds
@tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
def decode_request(
    image_bytes: tf.Tensor, preprocess: EvalPreprocess
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode, resize and scale the images of a request.

    Args:
        image_bytes: string `[batch]`.
        preprocess: of the model.

    Returns:
        float32 `[batch, height, width, 3]` in [-1, 1], zeros for an image that is too large, of no
        known format, or damaged; and whether it is none of these, bool `[batch]`.
    """
    shape = [*preprocess.image_size, 3]
    count = tf.shape(image_bytes, out_type=tf.int64)[0]
    formats, needed = tf.map_fn(
        lambda encoded: _format_and_bytes(encoded, preprocess),
        image_bytes,
        fn_output_signature=(tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int64)),
        parallel_iterations=MOST_PARALLEL,
    )
    allowed = (needed > 0) & (needed <= MAX_BYTES)
    largest = tf.reduce_max(tf.concat([tf.where(allowed, needed, 1), [1]], axis=0))
    parallel = tf.clip_by_value(PARALLEL_BYTES // largest, 1, MOST_PARALLEL)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def decode(
        index: tf.Tensor, encoded: tf.Tensor, file_format: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return index, preprocess.from_pixels(decode_format(encoded, file_format))

    # tf.data, for it alone can leave out what raises an error.
    places = tf.boolean_mask(tf.range(count), allowed)
    wanted = (places, tf.gather(image_bytes, places), tf.gather(formats, places))
    decoded = tf.data.Dataset.from_tensor_slices(wanted).map(decode, num_parallel_calls=parallel)
    decoded = decoded.with_options(_without_tuning())
    # Behind the last: there is always one image, and its place is cut off.
    spare = tf.data.Dataset.from_tensors((count, tf.zeros(shape)))
    index, images = decoded.ignore_errors().concatenate(spare).batch(count + 1).get_single_element()
    index = index[:, None]
    filled = tf.scatter_nd(index, images, tf.stack([count + 1, *shape]))[:count]
    valid = tf.scatter_nd(index, tf.ones_like(index[:, 0]), (count + 1)[None])[:count] > 0
    return tf.ensure_shape(filled, [None, *shape]), valid


def _without_tuning() -> tf.data.Options:
    """For a dataset that lives for one request: tuning costs it more than it brings."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _format_and_bytes(
    encoded: tf.Tensor, preprocess: EvalPreprocess
) -> tuple[tf.Tensor, tf.Tensor]:
    """Format and the memory, int64 [], that decoding and resizing take; 0 for what is refused."""
    file_format = read_format(encoded)
    size = read_size(encoded, file_format)
    height, width = size[0], size[1]
    # A side alone is held to the limit first, so that no product overflows.
    fits = tf.reduce_all((size > 0) & (size <= MAX_PIXELS)) & (
        tf.minimum(height, MAX_PIXELS) * tf.minimum(width, MAX_PIXELS) <= MAX_PIXELS
    )
    sides = tf.cast(tf.where(fits, size, 1), tf.float64)
    rows, columns = (float(side) for side in preprocess.image_size)
    resized = tf.constant([rows, columns], tf.float64)
    if preprocess.eval_resize is not None:  # covers the frame, and the rest is cropped
        frame = resized * (preprocess.eval_resize / min(preprocess.image_size))
        resized = sides * tf.reduce_max(frame / sides)
    resizing = resized[0] * sides[1] + tf.reduce_prod(resized)  # rows first, then columns
    needed = DECODED_BYTES * tf.reduce_prod(sides) + RESIZED_BYTES * resizing
    return file_format, tf.where(fits, tf.cast(needed, tf.int64), tf.constant(0, tf.int64))
