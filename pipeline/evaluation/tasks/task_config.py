"""Options of a downstream task. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TransferData:
    """The downstream dataset."""

    source: str | None = None
    """Dataset folder (as written by `beam_jobs` or by TFDS), or a TFDS name such as cifar100. Give
    this or `tasks`."""
    data_dir: str | None = None
    """Where TFDS keeps its datasets, for a `source` that is a TFDS name, and for `tasks`."""
    train_split: str = "train"
    """Split to learn from, in TFDS notation."""
    validation_split: str | None = None
    """Split that settings are chosen on (L2 of few_shot, regularization of linear_probe); null: a
    fifth of `train_split`, drawn by `seed`. Nothing is ever chosen on `test_split`."""
    test_split: str | None = None
    """Split that accuracy is measured on; null: test, or validation where there is no test."""
    image_key: str = "image"
    """Name of the image feature."""
    label_key: str = "label"
    """Name of the class label feature."""


@dataclass
class ExtraTest:
    """Another test set for what was learned."""

    source: str
    """Dataset folder or TFDS name whose classes have the names of those of `data.source`, or of
    some of them; such as imagenet_v2/matched-frequency or imagenet2012_real."""
    name: str | None = None
    """Heading of its column in the report; null: `source`."""
    split: str | None = None
    """Split to measure on; null: test, or validation where there is no test."""
    label_key: str | None = None
    """Name of the feature that is a class label or, with several right answers, a sequence of them;
    null: `data.label_key` or, where there is none, real_label."""
    real_labels: str | None = None
    """real.json of github.com/google-research/reassessed-imagenet, for a dataset that holds the
    validation images of ILSVRC2012 under their file names; null: the labels of the dataset."""

    @property
    def heading(self) -> str:
        """What it is called in reports."""
        return self.name or self.source
