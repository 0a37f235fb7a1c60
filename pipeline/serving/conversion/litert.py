"""The exported model for LiteRT (TensorFlow Lite)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipeline.serving.conversion.runtime import Precision, Runner, require
from pipeline.serving.loading import Export

FILE_NAME = "model.tflite"
INSTALL = "ai-edge-litert"


def convert(export: Export, precision: Precision) -> bytes:
    """Convert the `serve_pixels` signature for one image at a time.

    With a free batch size LiteRT's interpreter (ai-edge-litert 2.3.0) resizes tensors while it
    runs, and was seen to answer wrongly from the second call on. With a fixed one it does not.

    Args:
        export: a model with a head.
        precision: of the stored weights. int8 is dynamic-range quantization: int8 kernels, and
            activations quantized as they come; it needs no calibration images.
    """
    module = export.saved_model
    serve_pixels = module.signatures["serve_pixels"]
    one_image = tf.TensorSpec([1, *export.description.image_size, 3], tf.float32, "images")
    function = tf.function(lambda images: serve_pixels(images=images)).get_concrete_function(
        one_image
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    content: bytes = converter.convert()
    return content


def make_runner(content: bytes) -> Runner:
    """Run a converted model through LiteRT's interpreter, image by image."""
    litert = require("ai_edge_litert.interpreter", INSTALL)
    run = litert.Interpreter(model_content=content).get_signature_runner()

    def logits(images: np.ndarray) -> np.ndarray:
        return np.concatenate([run(images=image[None])["logits"].copy() for image in images])

    return logits
