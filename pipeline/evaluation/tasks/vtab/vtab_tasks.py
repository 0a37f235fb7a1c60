"""The 19 tasks of VTAB-1k as facts (google-research/task_adaptation, data/).

Every task has 800 training images (`train800`), 200 to choose settings on (`val200`), and the whole
test split. Where TFDS has no validation split, `val200` are the 200 examples after the share of
`train` that the benchmark trains on; where it has no test split, that is the last part of `train`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from pipeline.evaluation.tasks.vtab import labels
from pipeline.evaluation.tasks.vtab.labels import Features, Label

Group = Literal["natural", "specialized", "structured"]


@dataclass(frozen=True)
class Carving:
    """Where the examples of a task come from."""

    validation: str | None = None
    """Split whose first 200 examples are val200; None: they follow the training share of train."""
    train_percent: int = 100
    """Training share of train."""
    test: str = "test"
    """Split to measure on."""
    test_from_percent: int = 0
    """Share of that split that is left out at its start."""


OFFICIAL = Carving(validation="validation")
WITHOUT_VALIDATION = Carving(train_percent=90)
SIXTY_TWENTY = Carving(train_percent=60, test="train", test_from_percent=80)
EIGHTY_TEN = Carving(train_percent=80, test="train", test_from_percent=90)
CLEVR = Carving(train_percent=90, test="validation")
SMALLNORB = Carving(validation="test", test_from_percent=50)
CLASS_LABEL = labels.plain("label")


@dataclass(frozen=True)
class VtabTask:
    """One task."""

    name: str
    group: Group
    tfds_name: str
    num_classes: int
    carving: Carving = OFFICIAL
    label: Label = CLASS_LABEL
    reads: tuple[str, ...] = ("image", "label")
    """TFDS features that image and label are made from."""
    image: Callable[[Features], tf.Tensor] = labels.as_it_is


TASKS = (
    VtabTask("caltech101", "natural", "caltech101:3.*.*", 102, WITHOUT_VALIDATION),
    VtabTask("cifar100", "natural", "cifar100:3.*.*", 100, WITHOUT_VALIDATION),
    VtabTask("dtd", "natural", "dtd:3.*.*", 47),
    VtabTask("flowers102", "natural", "oxford_flowers102:2.*.*", 102),
    # The benchmark took version 3, which TFDS no longer offers.
    VtabTask("pets", "natural", "oxford_iiit_pet:4.*.*", 37, Carving(train_percent=80)),
    VtabTask("sun397", "natural", "sun397/tfds:4.*.*", 397),
    VtabTask("svhn", "natural", "svhn_cropped:3.*.*", 10, WITHOUT_VALIDATION),
    VtabTask("patch_camelyon", "specialized", "patch_camelyon:2.*.*", 2),
    VtabTask("eurosat", "specialized", "eurosat/rgb:2.*.*", 10, SIXTY_TWENTY),
    VtabTask("resisc45", "specialized", "resisc45:3.*.*", 45, SIXTY_TWENTY),
    VtabTask(
        "diabetic_retinopathy",
        "specialized",
        "diabetic_retinopathy_detection/btgraham-300:3.*.*",
        5,
    ),
    VtabTask(
        "clevr_count",
        "structured",
        "clevr:3.*.*",
        8,
        CLEVR,
        labels.clevr_count,
        ("image", "objects"),
    ),
    VtabTask(
        "clevr_distance",
        "structured",
        "clevr:3.*.*",
        6,
        CLEVR,
        labels.clevr_distance,
        ("image", "objects"),
    ),
    VtabTask("dmlab", "structured", "dmlab:2.0.1", 6),
    VtabTask(
        "dsprites_location",
        "structured",
        "dsprites:2.*.*",
        16,
        EIGHTY_TEN,
        labels.binned("label_x_position", 32, 16),
        ("image", "label_x_position"),
        labels.dsprites_image,
    ),
    VtabTask(
        "dsprites_orientation",
        "structured",
        "dsprites:2.*.*",
        16,
        EIGHTY_TEN,
        labels.binned("label_orientation", 40, 16),
        ("image", "label_orientation"),
        labels.dsprites_image,
    ),
    VtabTask(
        "kitti_distance",
        "structured",
        "kitti:3.*.*",
        4,
        OFFICIAL,
        labels.kitti_distance,
        ("image", "objects"),
    ),
    VtabTask(
        "smallnorb_azimuth",
        "structured",
        "smallnorb:2.*.*",
        18,
        SMALLNORB,
        labels.plain("label_azimuth"),
        ("image", "label_azimuth"),
    ),
    VtabTask(
        "smallnorb_elevation",
        "structured",
        "smallnorb:2.*.*",
        9,
        SMALLNORB,
        labels.plain("label_elevation"),
        ("image", "label_elevation"),
    ),
)
