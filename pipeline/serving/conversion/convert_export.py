"""Convert an export folder to another format, compare the two, and write the result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from groundwork import storage
from groundwork.errors import UserError
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.source import Source
from pipeline.data.dataset.split import Split
from pipeline.serving.conversion import litert, onnx
from pipeline.serving.conversion.runtime import Precision, Runner
from pipeline.serving.loading import Export
from pipeline.serving.outputs import writing_to
from pipeline.serving.parity import ParityError

Format = Literal["litert", "onnx"]
FORMATS = {"litert": litert, "onnx": onnx}
FLOAT32_TOLERANCE = 1e-3
"""Largest accepted difference in logits of a float32 conversion, relative to the largest logit:
other kernels sum in another order and may take the approximate exponential."""
FLOAT32_AGREEMENT = 0.999
"""Least accepted share of equal decisions of a float32 conversion."""
BATCH = 64
IMAGES = 8


@dataclass(frozen=True)
class Comparison:
    """A converted model against the SavedModel on a labeled split."""

    examples: int
    agreement: float
    """Share of images given the same class, 0 to 1."""
    accuracy: float | None
    """Of the converted model; None where the dataset has other classes than the model."""
    saved_model_accuracy: float | None


@dataclass(frozen=True)
class Conversion:
    """What was written, as conversion.json holds it."""

    file: str
    format: Format
    precision: Precision
    bytes: int
    max_abs_logit_difference: float
    """From the SavedModel, on generated images."""
    comparison: Comparison | None
    model_fingerprint: str
    class_names: tuple[str, ...]
    preprocess: dict[str, Any]
    """Not part of the converted model: it takes images that went through this."""


def convert_export(
    export: Export,
    output: str,
    *,
    to: Format,
    precision: Precision = "float32",
    dataset: tuple[Source, Split] | None = None,
) -> Conversion:
    """Convert the `serve_pixels` signature and write it with conversion.json to `output`.

    Args:
        export: a model with a head.
        output: folder.
        to: format.
        precision: of the converted model.
        dataset: labeled images to compare the two models on.

    Raises:
        UserError: no head, or the format's packages are not installed.
        ParityError: a float32 conversion does not compute what the SavedModel computes.
    """
    storage.make_local_folder(output, "--output")
    if not export.description.class_names:
        raise UserError(f"{export.folder} has no head, only features: export a model with classes")
    content = FORMATS[to].convert(export, precision)
    runner: Runner = FORMATS[to].make_runner(content)
    difference = _check_parity(export, runner, precision)
    comparison = _compare(export, runner, *dataset) if dataset else None
    if comparison and precision == "float32" and comparison.agreement < FLOAT32_AGREEMENT:
        raise ParityError(
            f"conversion failed its parity check: only {100 * comparison.agreement:.2f} % of the "
            f"decisions on {comparison.examples} images equal the SavedModel's"
        )
    conversion = Conversion(
        file=FORMATS[to].FILE_NAME,
        format=to,
        precision=precision,
        bytes=len(content),
        max_abs_logit_difference=difference,
        comparison=comparison,
        model_fingerprint=export.description.fingerprint,
        class_names=export.description.class_names,
        preprocess=export.description.preprocess,
    )
    text = json.dumps(asdict(conversion), indent=2, ensure_ascii=False) + "\n"
    with writing_to(output, "--output"):
        with storage.create(str(Path(output) / conversion.file)) as file:
            file.write(content)
        storage.write_text(str(Path(output) / "conversion.json"), text)
    return conversion


def _check_parity(export: Export, runner: Runner, precision: Precision) -> float:
    size = (IMAGES, *export.description.image_size, 3)
    images = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    difference, largest = 0.0, 1.0
    # The batch size is free, and answers do not depend on what was asked before.
    for batch in (images, images[:1], images[1:2], images[1:], images[:-1]):
        expected = _saved_model_logits(export, batch)
        difference = max(difference, float(np.max(np.abs(runner(batch) - expected))))
        largest = max(largest, float(np.max(np.abs(expected))))
    if precision == "float32" and not difference <= FLOAT32_TOLERANCE * largest:
        raise ParityError(
            f"conversion failed its parity check: logits differ from the SavedModel's by "
            f"{difference:.3g}, more than {FLOAT32_TOLERANCE * largest:.3g}"
        )
    return difference


def _saved_model_logits(export: Export, images: np.ndarray) -> np.ndarray:
    answer = export.saved_model.signatures["serve_pixels"](images=tf.constant(images))
    logits: np.ndarray = answer["logits"].numpy()
    return logits


def _compare(export: Export, runner: Runner, source: Source, split: Split) -> Comparison:
    same = hits = saved_model_hits = 0
    for images, labels, mask in eval_batches(split, export.preprocess, BATCH):
        real = mask.numpy() == 1
        pixels, wanted = images.numpy()[real], labels.numpy()[real]
        classes = runner(pixels).argmax(axis=1)
        expected = _saved_model_logits(export, pixels).argmax(axis=1)
        same += int(np.sum(classes == expected))
        hits += int(np.sum(classes == wanted))
        saved_model_hits += int(np.sum(expected == wanted))
    total = split.num_examples
    own_classes = source.class_names == export.description.class_names
    return Comparison(
        examples=total,
        agreement=same / total,
        accuracy=hits / total if own_classes else None,
        saved_model_accuracy=saved_model_hits / total if own_classes else None,
    )
