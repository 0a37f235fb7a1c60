"""Whether what was exported computes what the live model computes."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import tensorflow as tf

from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.description import KERAS_FILE

TOLERANCE = 1e-4
"""Largest accepted difference, relative to the largest value. The same float32 graph in another
order of operations stays near 1e-6."""


class ParityError(RuntimeError):
    """The exported model does not compute what the live model computes."""


def check_parity(folder: Path, model: keras.Model, preprocess: EvalPreprocess) -> dict[str, float]:
    """Compare the SavedModel and the `.keras` file in `folder` with the live float32 `model`.

    All see the same generated images: as encoded bytes of several sizes, and as pixels.

    Returns:
        The largest absolute difference of each comparison, by name.

    Raises:
        ParityError: one exceeds `TOLERANCE`.
    """
    encoded = _encoded_images(preprocess.image_size)
    images = tf.stack([preprocess(image) for image in encoded])
    signatures = tf.saved_model.load(str(folder)).signatures
    stored = keras.saving.load_model(folder / KERAS_FILE, compile=False)

    features = model.features(images, training=False)
    answers = {
        "saved_model_features": (
            signatures["features"](image_bytes=tf.constant(encoded))["features"],
            features,
        ),
        "saved_model_tokens": (
            signatures["tokens"](image_bytes=tf.constant(encoded))["tokens"],
            model.feature_map(images),
        ),
        "keras_features": (stored.features(images, training=False), features),
    }
    if model.num_classes is not None:
        logits = model(images, training=False)
        served = signatures["serve"](image_bytes=tf.constant(encoded))["logits"]
        served_pixels = signatures["serve_pixels"](images=images)["logits"]
        answers["saved_model_logits"] = (served, logits)
        answers["saved_model_pixels_logits"] = (served_pixels, logits)
        answers["keras_logits"] = (stored(images, training=False), logits)
    return {name: _difference(name, *pair) for name, pair in answers.items()}


def _difference(name: str, answer: tf.Tensor, expected: tf.Tensor) -> float:
    answer, expected = np.asarray(answer), np.asarray(expected)
    difference = float(np.max(np.abs(answer - expected)))
    allowed = TOLERANCE * max(1.0, float(np.max(np.abs(expected))))
    if not difference <= allowed:  # NaN too
        raise ParityError(
            f"export failed its parity check: {name} differs from the live model by "
            f"{difference:.3g}, more than {allowed:.3g}"
        )
    return difference


def _encoded_images(size: tuple[int, int]) -> list[bytes]:
    """Noise as PNG: at the model's size, smaller, larger, and of another aspect."""
    generator = np.random.default_rng(0)
    height, width = size
    shapes = [
        size,
        (height // 2 + 1, width // 2 + 1),
        (height + 9, width + 30),
        (width * 2, height),
    ]
    images = []
    for shape in shapes:
        buffer = io.BytesIO()
        pixels = generator.integers(0, 256, (*shape, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(buffer, "PNG")
        images.append(buffer.getvalue())
    return images
