"""The functions that a SavedModel of ours answers, preprocessing inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf

from pipeline.data.images.preprocess import EvalPreprocess

Activation = Literal["softmax", "sigmoid"]
PARALLEL_DECODES = 16


def save_saved_model(
    folder: str, model: keras.Model, preprocess: EvalPreprocess, activation: Activation = "softmax"
) -> None:
    """Write `model` as a SavedModel.

    Signatures (all batched, any batch size):
        serve: `image_bytes`, string `[batch]`, encoded images of any sizes and formats, to
            `logits` and `probabilities`, float32 `[batch, classes]`. Also under the name
            `serving_default`, which TensorFlow Serving takes where a request names none.
        serve_pixels: `images`, float32 `[batch, height, width, 3]` in [-1, 1], to the same.
        features: `image_bytes` to `features`, float32 `[batch, width]`: the pre-logits.

    A model without a head has `features` only. Bytes that cannot be decoded fail their request
    with InvalidArgumentError; the loaded model goes on serving.

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
) -> dict[str, Callable[..., Any]]:
    height, width = preprocess.image_size
    image_bytes = tf.TensorSpec([None], tf.string, "image_bytes")
    images = tf.TensorSpec([None, height, width, 3], tf.float32, "images")
    image = tf.TensorSpec([height, width, 3], tf.float32)

    def decode(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            preprocess,
            image_bytes,
            fn_output_signature=image,
            parallel_iterations=PARALLEL_DECODES,
        )

    @tf.function(input_signature=[images])
    def serve_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.cast(model(images, training=False), tf.float32)
        activate = tf.nn.softmax if activation == "softmax" else tf.nn.sigmoid
        return {"logits": logits, "probabilities": activate(logits)}

    @tf.function(input_signature=[image_bytes])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return serve_pixels(decode(image_bytes))

    @tf.function(input_signature=[image_bytes])
    def features(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pre_logits = model.features(decode(image_bytes), training=False)
        return {"features": tf.cast(pre_logits, tf.float32)}

    if model.num_classes is None:
        return {"features": features}
    return {
        "serving_default": serve,
        "serve": serve,
        "serve_pixels": serve_pixels,
        "features": features,
    }
