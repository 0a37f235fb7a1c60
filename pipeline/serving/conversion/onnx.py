"""The exported model as ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.serving.conversion.runtime import Precision, Runner, require
from pipeline.serving.loading import Export

FILE_NAME = "model.onnx"
INSTALL = "tf2onnx onnx onnxruntime"
OPSET = 17


def convert(export: Export, precision: Precision) -> bytes:
    """Convert the `serve_pixels` signature; any batch size.

    Args:
        export: a model with a head.
        precision: float16 computes in float16 between float32 inputs and outputs; int8 is ONNX
            Runtime's dynamic quantization of the matrix products.
    """
    tf2onnx = require("tf2onnx", INSTALL)
    signature = export.saved_model.signatures["serve_pixels"]
    pixels = tf.TensorSpec([None, *export.description.image_size, 3], tf.float32, "images")
    model, _ = tf2onnx.convert.from_function(
        tf.function(lambda images: signature(images=images)), [pixels], opset=OPSET
    )
    if precision == "float16":
        float16 = require("onnxruntime.transformers.float16", INSTALL)
        model = float16.convert_float_to_float16(model, keep_io_types=True)
    if precision == "int8":
        return _quantize(model.SerializeToString())
    content: bytes = model.SerializeToString()
    return content


def make_runner(content: bytes, threads: int = 0) -> Runner:
    """Run a converted model through ONNX Runtime on the CPU; 0 threads: one per core."""
    runtime = require("onnxruntime", INSTALL)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def logits(images: np.ndarray) -> np.ndarray:
        answer: np.ndarray = session.run(["logits"], {"images": images})[0]
        return answer

    return logits


def _quantize(content: bytes) -> bytes:
    quantization = require("onnxruntime.quantization", INSTALL)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(content)
        quantization.quantize_dynamic(source, target, op_types_to_quantize=["MatMul"])
        return target.read_bytes()
