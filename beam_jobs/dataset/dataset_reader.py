"""Read a dataset folder shard by shard: any in TFDS format with image and label."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_jobs.dataset import dataset_folder
from beam_jobs.dataset.shards import Shard, shards
from groundwork import storage
from groundwork.errors import StorageFault, UserError, one_line
from groundwork.filesystems import check_scheme


@dataclass(frozen=True)
class Dataset:
    """What the metadata of a dataset folder says."""

    folder: str
    class_names: tuple[str, ...]
    lengths: dict[str, tuple[int, ...]]
    """Records of each shard of each split."""
    shards: tuple[Shard, ...]
    has_keys: bool = True
    """Whether there is a feature `key`; most datasets of TFDS have none."""
    multi_label: bool = False


def open_dataset(folder: str, splits: list[str] | None = None, *, check: bool = False) -> Dataset:
    """Read the metadata of a dataset folder.

    Args:
        folder: the dataset folder.
        splits: only these; None or empty: all.
        check: a job is only checked, without the network: a folder in a bucket is taken to hold one
            shard of one class.

    Raises:
        UserError: it is none, is not complete, lacks a split, or is of a kind not read here.
    """
    if check and storage.is_remote(folder):
        check_scheme(folder)
        stand_in = (Shard("images", "train", 0, 1),)
        return Dataset(folder, ("class",), {"train": (1,)}, stand_in)
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
    found = tuple(shard for name in names for shard in shards(info.name, name, len(lengths[name])))
    listed = {Path(str(path)).name for name in names for path in info.splits[name].filepaths}
    if listed != {shard.file_name for shard in found}:
        raise UserError(
            f"{folder} has files such as {min(listed, default='none')}: only TFRecord files named "
            f"like {found[0].file_name if found else 'TFDS names them'} are read"
        )
    features = dict(info.features.items())
    return Dataset(
        folder=folder,
        class_names=_class_names(features, folder),
        lengths=lengths,
        shards=found,
        has_keys="key" in features,
        multi_label=hasattr(features["label"], "feature"),
    )


def _info(folder: str) -> Any:
    """The metadata as TFDS reads it, which imports the classes that they name."""
    import tensorflow_datasets as tfds

    try:
        text = storage.read_text(storage.join(folder, "features.json"))
        foreign = [
            name
            for name in re.findall(r'"pythonClassName"\s*:\s*"([^"]*)"', text)
            if not name.startswith("tensorflow_datasets.core.features.")
        ]
        if foreign:
            raise UserError(
                f"{folder}/features.json names the class {foreign[0]}: only those of "
                "tensorflow_datasets are imported"
            )
        if not storage.is_remote(folder):
            return tfds.builder_from_directory(folder).info
        # from a local copy: TFDS knows fewer kinds of storage
        with tempfile.TemporaryDirectory() as copy:
            for name in storage.names(folder):
                if name.endswith((".json", ".labels.txt")):
                    storage.copy_to_local(storage.join(folder, name), f"{copy}/{name}")
            return tfds.builder_from_directory(copy).info
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} lacks metadata that TFDS writes ({one_line(error)}): write the dataset again"
        ) from error
    except (UserError, StorageFault):
        raise
    except Exception as error:  # TFDS raises nearly every kind for metadata that are damaged
        raise UserError(
            f"the metadata of {folder} are not what TFDS writes ({one_line(error)}): write the "
            "dataset again"
        ) from error


def _class_names(features: dict[str, Any], folder: str) -> tuple[str, ...]:
    label: Any = features.get("label")
    label = getattr(label, "feature", label)  # several labels: a sequence of class labels
    if "image" not in features or not hasattr(label, "names"):
        raise UserError(
            f"{folder} has the features {', '.join(features)}: image and label, a class "
            "label, are needed"
        )
    return tuple(label.names)
