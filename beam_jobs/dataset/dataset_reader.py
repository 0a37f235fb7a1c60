"""Read a dataset folder shard by shard: any in TFDS format with image and label."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from beam_jobs.dataset import dataset_folder
from beam_jobs.dataset.shards import Shard, shards
from groundwork import storage
from groundwork.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """What the metadata of a dataset folder says."""

    folder: str
    class_names: tuple[str, ...]
    lengths: dict[str, tuple[int, ...]]
    """Records of each shard of each split."""
    shards: tuple[Shard, ...]


def open_dataset(folder: str, splits: list[str] | None = None) -> Dataset:
    """Read the metadata of a dataset folder.

    Args:
        folder: the dataset folder.
        splits: only these; None or empty: all.

    Raises:
        UserError: it is none, is not complete, or lacks a split.
    """
    begun = storage.exists(storage.join(folder, dataset_folder.JOB))
    if begun and not dataset_folder.is_complete(folder):
        raise UserError(f"{folder} is not complete: run the job that writes it again, it goes on")
    if not storage.exists(storage.join(folder, "dataset_info.json")):
        raise UserError(
            f"{folder} is no dataset folder; python -m beam_jobs.build_dataset makes one of images"
        )
    info = _info(folder)
    for split in splits or []:
        if split not in info.splits:
            raise UserError(f"{folder} has no split {split}; it has {', '.join(info.splits)}")
    names = splits or sorted(info.splits)
    lengths = {name: tuple(info.splits[name].shard_lengths) for name in names}
    return Dataset(
        folder=folder,
        class_names=_class_names(info, folder),
        lengths=lengths,
        shards=tuple(
            shard for name in names for shard in shards(info.name, name, len(lengths[name]))
        ),
    )


def _info(folder: str) -> Any:
    """TFDS' DatasetInfo, from a local copy of the metadata: TFDS knows fewer kinds of storage."""
    import tensorflow_datasets as tfds

    if not storage.is_remote(folder):
        return tfds.builder_from_directory(folder).info
    with tempfile.TemporaryDirectory() as copy:
        for name in storage.names(folder):
            if name.endswith((".json", ".labels.txt")):
                storage.copy_to_local(storage.join(folder, name), f"{copy}/{name}")
        return tfds.builder_from_directory(copy).info


def _class_names(info: Any, folder: str) -> tuple[str, ...]:
    features = dict(info.features.items())
    label: Any = features.get("label")
    label = getattr(label, "feature", label)  # several labels: a sequence of class labels
    if "image" not in features or not hasattr(label, "names"):
        raise UserError(
            f"{folder} has the features {', '.join(features)}: image and label, a class "
            "label, are needed"
        )
    return tuple(label.names)
