"""The dataset of a folder of images: `build_dataset` makes it, once."""

from __future__ import annotations

import shlex
from pathlib import Path

from groundwork import storage
from groundwork.errors import UserError
from pipeline.data.dataset.prepare_source import prepare_source
from pipeline.finetuning.finetune_config import FinetuneConfig

FILES = (".tar", ".tar.gz", ".tgz", ".zip", ".csv", ".tsv", ".jsonl", ".parquet")
"""Ends of the names of files that `build_dataset` takes."""
DATASET = ("dataset_info.json", "features.json", "COMPLETED", "job.json")
"""Files of a dataset folder, whole or not."""
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


def prepared_dataset(config: FinetuneConfig, workers: int) -> str:
    """The dataset folder, or TFDS name, of `config.data.source`.

    Raises:
        UserError: there are no images, or the job that makes the dataset failed.
    """
    source = config.data.source
    if not _are_images(source):
        return source
    dataset = storage.join(config.output, "dataset")
    # What is held out is drawn of each class when training starts, not by the images' names.
    splits = "folders" if _holds_splits(source) else "train:1"
    arguments = ["--input", source, "--output", dataset, "--splits", splits]
    prepare_source(dataset, f"beam_jobs.build_dataset {shlex.join(arguments)}", workers)
    return dataset


def _are_images(source: str) -> bool:
    if source.endswith(FILES):
        return True
    if storage.is_remote(source):
        return not any(storage.exists(storage.join(source, name)) for name in DATASET)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or source.startswith((".", "~")):
            raise UserError(f"data.source {source} does not exist")
        return False  # a name of TFDS
    versions = (path for path in folder.iterdir() if path.is_dir())
    return not any((place / name).exists() for place in (folder, *versions) for name in DATASET)


def _holds_splits(source: str) -> bool:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return False
    names = {path.name.lower() for path in folder.iterdir() if path.is_dir()}
    return "train" in names and names <= SPLITS
