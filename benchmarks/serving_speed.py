"""Serving on the CPU: our SavedModel beside ONNX Runtime and Hugging Face, one image and 32 a time.

    python benchmarks/serving_speed.py                # all three: some 20 minutes on 2 cores
    python benchmarks/serving_speed.py --quick        # Ti/16 alone, three minutes

A step answers one request, from float32 pixels to logits, so a step's milliseconds are the latency.
The SavedModel is asked through its signature `serve_pixels`, with TensorFlow's oneDNN kernels and,
as TensorFlow Serving has it by default on a CPU without AVX-512, without. ONNX Runtime runs what
`python -m pipeline.export --to onnx` makes of it. The contenders take turns, as in
train_step_speed.py, and the table reads like its.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import turns  # noqa: E402 - found through the path set above
from model_peers import hugging_face  # noqa: E402
from peer_models import CLASSES, SIZE, images  # noqa: E402
from turns import Make, RunSteps  # noqa: E402


def saved_model(variant: str, batch: int, precision: str, *, onednn: bool) -> RunSteps:
    """The SavedModel of an export, loaded."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = str(int(onednn))
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        signature = _export(variant, folder).saved_model.signatures["serve_pixels"]
    x = tf.constant(images(batch))

    def run(steps: int) -> None:
        for _ in range(steps):
            signature(images=x)["logits"].numpy()

    return run


def onnx_runtime(variant: str, batch: int, precision: str) -> RunSteps:
    """The same export as ONNX."""
    from pipeline.serving.conversion import onnx

    with tempfile.TemporaryDirectory() as folder:
        content = onnx.convert(_export(variant, folder), "float32")
    logits = onnx.make_runner(content)
    x = images(batch)

    def run(steps: int) -> None:
        for _ in range(steps):
            logits(x)

    return run


def _export(variant: str, folder: str) -> Any:
    import vit_keras
    from pipeline.data.images.preprocess import EvalPreprocess
    from pipeline.serving.export_folder import export_model
    from pipeline.serving.loading import open_export

    model = vit_keras.create_model(variant, image_size=SIZE, num_classes=CLASSES)
    names = [str(index) for index in range(CLASSES)]
    export_model(model, EvalPreprocess((SIZE, SIZE)), names, folder, variant=variant)
    return open_export(folder)


CONTENDERS: dict[str, dict[str, Make]] = {
    "float32": {
        "ours, SavedModel": partial(saved_model, onednn=True),
        "ours, SavedModel without oneDNN": partial(saved_model, onednn=False),
        "ONNX Runtime": onnx_runtime,
        "Hugging Face": partial(hugging_face, backward=False, compiled=False),
        "Hugging Face, compiled": partial(hugging_face, backward=False, compiled=True),
    }
}
BATCHES = {variant: [1, 32] for variant in ("Ti/16", "S/16", "B/16")}

if __name__ == "__main__":
    turns.main(__doc__ or "", __file__, CONTENDERS, {"Hugging Face, compiled"}, BATCHES)
