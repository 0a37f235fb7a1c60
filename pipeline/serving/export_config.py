"""Typed configuration of exporting. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class ComparisonData:
    """Labeled images to compare a conversion with the SavedModel on."""

    source: str | None = None
    """Dataset folder, or a TFDS name; null: no comparison."""
    data_dir: str | None = None
    """Where TFDS keeps its datasets, for a `source` that is a TFDS name."""
    split: str = "test"
    """Split, in TFDS notation."""
    image_key: str = "image"
    """Name of the image feature."""
    label_key: str = "label"
    """Name of the class label feature."""


@dataclass
class ExportConfig:
    """What `export_run` exports."""

    workdir: str
    """Workdir of the run."""
    output: str
    """Folder to write; an export that is there already is replaced."""
    checkpoint: int | Literal["best"] | None = None
    """Step of the checkpoint; "best": that of the best evaluation; None: the newest."""
    patch_size: int | None = None
    """Side of a patch, in pixels; None: the model's own."""


@dataclass
class ExportOptions:
    """Write the model of a run, or one by name, as SavedModel and `.keras` file; or convert one.

    What is written is checked against what it was made from.
    """

    output: str
    """Folder to write; an export that is there already is replaced."""
    workdir: str | None = None
    """Workdir of `python -m pipeline.pretrain`, for `to` saved_model."""
    checkpoint: int | Literal["best"] | None = None
    """Step of the checkpoint to export; best: that of the best evaluation, of a run with
    `checkpoint.keep_best`; null: the newest."""
    patch_size: int | None = None
    """Side of a patch, in pixels, to which the run's patch and position embeddings are resized, as
    of one trained with `patch_sizes` (FlexiViT); null: the model's own."""
    to: Literal["saved_model", "litert", "onnx"] = "saved_model"
    """What to write. litert and onnx convert an export, given as `model`."""
    model: str | None = None
    """What to export instead of a `workdir`: a file of weights, or a name such as hf://timm/NAME or
    vit:ViT-B_16. For litert and onnx an export folder too."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    """Of a conversion. int8: dynamic quantization, which needs no calibration images."""
    data: ComparisonData = field(default_factory=ComparisonData)
    """Images on which to report what a conversion costs in accuracy."""
