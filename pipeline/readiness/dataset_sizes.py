"""Classes and training images of a recipe's dataset, also where the dataset is not here."""

from __future__ import annotations

from groundwork.errors import UserError
from pipeline.data.dataset.source import open_source
from pipeline.readiness.preflight_config import PreflightConfig

CLASSES = 1000
"""Taken where nothing is known of the dataset."""

DATASETS = {
    # What the shipped recipes read: classes, and images of their training split. JFT-300M's, for
    # the large corpus, are given in round numbers (ViT paper, section 4.1).
    "imagenet2012": (1000, 1_281_167 * 99 // 100),
    "datasets/imagenet21k": (21_843, 14_197_122),
    "datasets/corpus": (18_000, 303_000_000),
    "datasets/fractaldb_1k": (1000, 1_000_000),
}


def dataset_size(config: PreflightConfig) -> tuple[int, int | None, str]:
    """Classes, training images (None: not known), and why they are not those of a dataset here.

    The last is empty where they are.
    """
    data = config.data
    try:
        source = open_source(
            data.source,
            data.data_dir,
            image_key=data.image_key,
            label_key=data.label_key,
            multi_label=config.multi_label,
            download=False,
        )
        return source.num_classes, source.split(data.train_split).num_examples, ""
    except UserError as error:
        classes, images = DATASETS.get(data.source, (CLASSES, None))
        return classes, config.train_images or images, str(error)
