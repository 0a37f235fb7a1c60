"""The functions that a SavedModel of ours answers, preprocessing inside."""

from __future__ import annotations

from typing import Literal

import keras
import tensorflow as tf

from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.request_images import decode_request

Activation = Literal["softmax", "sigmoid"]


def save_saved_model(
    folder: str, model: keras.Model, preprocess: EvalPreprocess, activation: Activation = "softmax"
) -> None:
    """Write `model` as a SavedModel.

    Signatures (all batched, any batch size):
        serve: `image_bytes`, string `[batch]`, encoded images of any sizes and formats, to
            `logits` and `probabilities`, float32 `[batch, classes]`, and `valid`, bool `[batch]`.
            Also under the name `serving_default`, which TensorFlow Serving takes where a request
            names none.
        serve_pixels: `images`, float32 `[batch, height, width, 3]` in [-1, 1], to `logits` and
            `probabilities`.
        features: `image_bytes` to `features`, float32 `[batch, width]`: the pre-logits; and
            `valid`.
        tokens: `image_bytes` to `tokens`, float32 `[batch, rows, columns, width]`: of each patch
            what the encoder makes of it, or the last feature map of a ResNet; and `valid`.

    A model without a head has `features` and `tokens` only. An image that is damaged, of no known
    format, or larger than `request_images.MAX_PIXELS` is not `valid`, and its answers are zeros;
    the others of its request, which a server may have put together from several clients', are
    answered.

    Args:
        folder: to write to.
        model: a `vit_keras` model.
        preprocess: from encoded bytes to what the model sees.
        activation: what makes probabilities of the logits.
    """
    module = tf.Module(name="vit")
    # The weights alone: a Keras model held here would be saved with its training functions.
    module.weights = [variable.value for variable in model.variables]
    tf.saved_model.save(module, folder, _signatures(model, preprocess, activation))


def _signatures(
    model: keras.Model, preprocess: EvalPreprocess, activation: Activation
) -> dict[str, tf.types.experimental.GenericFunction]:
    height, width = preprocess.image_size
    image_bytes = tf.TensorSpec([None], tf.string, "image_bytes")
    images = tf.TensorSpec([None, height, width, 3], tf.float32, "images")
    activate = tf.nn.softmax if activation == "softmax" else tf.nn.sigmoid

    def serve_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.cast(model(images, training=False), tf.float32)
        return {"logits": logits, "probabilities": activate(logits)}

    # Traced once, for both that call it.
    decode = tf.function(
        lambda image_bytes: decode_request(image_bytes, preprocess),
        input_signature=[image_bytes],
        autograph=False,
    )

    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, valid = decode(image_bytes)
        return _of_valid(serve_pixels(images), valid)

    def features(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, valid = decode(image_bytes)
        pre_logits = model.features(images, training=False)
        return _of_valid({"features": tf.cast(pre_logits, tf.float32)}, valid)

    def tokens(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, valid = decode(image_bytes)
        return _of_valid({"tokens": tf.cast(model.feature_map(images), tf.float32)}, valid)

    headless = {
        "features": tf.function(features, input_signature=[image_bytes]),
        "tokens": tf.function(tokens, input_signature=[image_bytes]),
    }
    if model.num_classes is None:
        return headless
    serving = tf.function(serve, input_signature=[image_bytes])
    return {
        **headless,
        "serving_default": serving,
        "serve": serving,
        "serve_pixels": tf.function(serve_pixels, input_signature=[images]),
    }


def _of_valid(answers: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """The answers `[batch, ...]` with zeros for the images that are not valid; and which are."""
    kept = {}
    for name, value in answers.items():
        of_image = tf.reshape(valid, [-1, *[1] * (value.shape.rank - 1)])
        kept[name] = tf.where(of_image, value, tf.zeros_like(value))
    return kept | {"valid": valid}
