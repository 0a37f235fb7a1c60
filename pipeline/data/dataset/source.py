"""Open a labeled image dataset: a dataset folder in TFDS format, or a TFDS name.

The two look the same to the rest of `pipeline`: named splits of TFRecord files, each record a
tf.Example with one encoded image and one class label, or any number of them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from groundwork import storage
from groundwork.errors import UserError, one_line
from pipeline.data.dataset import shard_cache
from pipeline.data.dataset.shard_counts import check_shards
from pipeline.data.dataset.split import FileRange, Split

COMPLETED = "COMPLETED"
"""Marker that `beam_jobs` writes last into a dataset folder."""
DESCRIPTION = "dataset_info.json"
FEATURES = "features.json"
CLASS_NAMES = ".labels.txt"
"""End of the names of the files, one for each label feature, that hold the class names."""
OWN_FEATURES = "tensorflow_datasets."
"""What a dataset may name as features: another module would be imported, which runs its code."""
JOB = "job.json"
"""What `beam_jobs` writes first into a dataset folder: job, options, fingerprint."""
KEY_FEATURES = ("key", "file_name", "filename", "id", "image_id")
"""Text features that identify an example, the first one present wins."""


class NotPrepared(UserError):
    """A TFDS dataset that is not there, where nothing may be downloaded."""


@dataclass(frozen=True)
class Source:
    """A dataset with labeled images; `open_source` makes it."""

    builder: Any
    """The `tfds.core.DatasetBuilder`."""
    origin: str
    """What the user named: the folder or the TFDS name."""
    image_key: str
    label_key: str
    fetch: bool = True
    """Whether `split` copies shards to this host that TensorFlow does not read where they are;
    otherwise their paths are URLs, which are for looking at alone."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return tuple(label_feature(self.builder, self.label_key).names)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of labels."""
        return isinstance(feature(self.builder, self.label_key), tfds.features.Sequence)

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(sorted(self.builder.info.splits))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the folder's description: features, class names, counts, bytes and, where
        `beam_jobs` wrote it, the job and its completion record."""
        digest = hashlib.sha256()
        folder = epath.Path(self.builder.data_dir)
        names = sorted(path.name for path in folder.iterdir() if path.name.endswith(CLASS_NAMES))
        for name in (DESCRIPTION, FEATURES, *names, JOB, COMPLETED):
            path = folder / name
            digest.update(name.encode() + b"\0")
            digest.update(path.read_bytes() if path.exists() else b"")
        return digest.hexdigest()

    def split(self, name: str) -> Split:
        """Look up a split.

        Args:
            name: in TFDS slicing notation, such as "train", "train[:99%]" or "train+test".

        Raises:
            UserError: no such split, an empty one, or files missing from the folder.
        """
        return Split(
            name=name,
            files=file_ranges(self.builder, self.origin, name, fetch=self.fetch),
            fingerprint=split_fingerprint(self.fingerprint, self.builder, name),
            image_key=self.image_key,
            label_key=self.label_key,
            key_feature=key_feature(self.builder),
            labels_below=self._labels_below,
            multi_label_classes=self._labels_below if self.multi_label else None,
        )

    @property
    def _labels_below(self) -> int | None:
        label = label_feature(self.builder, self.label_key)
        return label.num_classes if isinstance(label, tfds.features.ClassLabel) else None


def open_source(
    source: str,
    data_dir: str | None = None,
    *,
    image_key: str = "image",
    label_key: str = "label",
    multi_label: bool | None = False,
    download: bool = True,
) -> Source:
    """Open a dataset for image classification.

    Args:
        source: a dataset folder, local or at a URL such as s3://bucket/dataset, or a TFDS name such
            as "cifar100" or "eurosat/rgb:2.*.*". A folder of that name wins over TFDS.
        data_dir: where TFDS keeps its datasets, for a TFDS name; None: TFDS's default.
        image_key: name of the image feature.
        label_key: name of the feature that is a class label, or a sequence of them.
        multi_label: whether an image has any number of labels, or one; None: either.
        download: whether TFDS may download and prepare a dataset that is not there yet, and shards
            at a URL may be copied to this host.

    Raises:
        UserError: the source is missing, not complete, not in TFRecord format, or lacks the
            features; the message says what to do.
    """
    builder = open_builder(source, data_dir, download=download)
    check_image_feature(builder, source, image_key)
    label = label_feature(builder, label_key)
    if not isinstance(label, tfds.features.ClassLabel):
        raise _feature_error(builder, source, "label", label_key, "ClassLabel")
    opened = Source(builder, source, image_key, label_key, fetch=download)
    if multi_label is not None and opened.multi_label != multi_label:
        raise UserError(
            f"an image of {source} has one label: leave out --objective multi_label; --loss "
            "sigmoid has a sigmoid for each class, too"
            if multi_label
            else f"an image of {source} has any number of labels, and here needs one: train on it "
            "with --objective multi_label, or name another feature with label_key"
        )
    return opened


def open_builder(source: str, data_dir: str | None = None, *, download: bool = True) -> Any:
    """Open a dataset folder or TFDS name, whatever its features; see `open_source`."""
    folder = _is_folder(source)
    builder = _open_folder(source) if folder else _open_name(source, data_dir, download)
    file_format = builder.info.file_format
    if file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"{source} holds {file_format.value} files; only TFRecord is read: prepare it again "
            "with file_format='tfrecord'"
        )
    return builder


def check_image_feature(builder: Any, source: str, image_key: str) -> None:
    """Raise a UserError unless `image_key` is an encoded image of integer pixels."""
    image = feature(builder, image_key)
    if not isinstance(image, tfds.features.Image) or np.dtype(image.np_dtype).kind == "f":
        raise _feature_error(builder, source, "image", image_key, "Image (8 or 16 bits)")


def feature(builder: Any, key: str) -> Any:
    """The feature at `key`, levels parted by "/"; None where there is none."""
    node = builder.info.features
    for part in key.split("/"):
        if not isinstance(node, tfds.features.FeaturesDict) or part not in node:
            return None
        node = node[part]
    return node


def label_feature(builder: Any, key: str) -> Any:
    """The feature at `key`; of a sequence of labels, that of one."""
    found = feature(builder, key)
    return found.feature if isinstance(found, tfds.features.Sequence) else found


def key_feature(builder: Any) -> str | None:
    """Name of the text feature that identifies an example, if there is one."""
    features = builder.info.features
    texts = (name for name in KEY_FEATURES if name in features)
    return next((name for name in texts if isinstance(features[name], tfds.features.Text)), None)


def file_ranges(
    builder: Any, origin: str, name: str, *, fetch: bool = True
) -> tuple[FileRange, ...]:
    """The files of a split in TFDS slicing notation; `fetch` and errors as of `Source`."""
    existing = ", ".join(sorted(builder.info.splits)) or "none"
    try:
        instructions = builder.info.splits[name].file_instructions
    except (ValueError, KeyError, AssertionError) as error:
        raise UserError(f"{origin} has no split {name}; its splits: {existing}") from error
    files = tuple(FileRange(str(i.filename), i.skip, i.take) for i in instructions if i.take)
    if not files:
        raise UserError(f"split {name} of {origin} is empty; its splits: {existing}")
    wanted = {file.path for file in files}
    for split_name, split in sorted(builder.info.splits.items()):
        paths = [str(path) for path in split.filepaths]
        if wanted & set(paths):
            there = [_where_written(path, origin) for path in paths]
            check_shards(there, split.shard_lengths, split.num_bytes, origin, split_name)
    if storage.is_remote(origin):
        if not fetch or shard_cache.tensorflow_reads(origin):
            return tuple(file._replace(path=_where_written(file.path, origin)) for file in files)
        names = dict.fromkeys(Path(file.path).name for file in files)
        shard_cache.fetch(origin, str(builder.data_dir), list(names))
    return files


def _where_written(path: str, origin: str) -> str:
    """The URL of a shard of a dataset at a URL; else its path."""
    return storage.join(origin, Path(path).name) if storage.is_remote(origin) else path


def split_fingerprint(dataset_fingerprint: str, builder: Any, name: str) -> str:
    """SHA-256 of a dataset's fingerprint and of the file ranges of one split."""
    digest = hashlib.sha256(dataset_fingerprint.encode())
    for i in builder.info.splits[name].file_instructions:
        digest.update(f"{epath.Path(i.filename).name}:{i.skip}:{i.take}\n".encode())
    return digest.hexdigest()


def _is_folder(source: str) -> bool:
    """Whether `source` is meant as a folder: one exists, or it cannot be a TFDS name."""
    if storage.is_remote(source) or source.startswith(("/", "./", "../", "~")):
        return True
    return Path(source).is_dir()


def _open_folder(source: str) -> Any:
    place = source if storage.is_remote(source) else str(Path(source).expanduser())
    names = storage.names(place)
    if not names and not Path(place).is_dir():
        raise UserError(
            f"dataset folder {source} does not exist: make it with python -m "
            f"beam_jobs.build_dataset --input IMAGES --output {source}"
        )
    if JOB in names and COMPLETED not in names:
        raise UserError(
            f"dataset folder {source} is not complete (it has {JOB} and no {COMPLETED}): run the "
            "same beam_jobs command again, it goes on where it stopped"
        )
    if DESCRIPTION not in names:
        raise UserError(_not_a_dataset(place, sorted(names), source))
    # TFDS knows fewer kinds of storage than we do
    remote = storage.is_remote(source)
    folder = epath.Path(shard_cache.open_description(source) if remote else place)
    _refuse_foreign_features(folder)
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS raises many kinds for a damaged description
        raise UserError(f"cannot read the dataset folder {source}: {one_line(error)}") from error


def _not_a_dataset(folder: str, names: list[str], source: str) -> str:
    """Say what a folder without dataset_info.json holds instead."""
    if not names:
        return f"dataset folder {source} is empty: write a dataset into it with beam_jobs first"
    below = [path for path in storage.folders(folder) if DESCRIPTION in storage.names(path)]
    if below:
        meant = " or ".join(storage.join(source, path.rpartition("/")[2]) for path in below)
        return f"{source} is not itself a dataset folder; did you mean {meant}?"
    return (
        f"{source} is not a dataset folder (no dataset_info.json): if it holds images, first run "
        f"python -m beam_jobs.build_dataset --input {source} --output DATASET"
    )


def _refuse_foreign_features(folder: epath.Path) -> None:
    """Raise a UserError where features.json names a class outside of TFDS, before it is loaded."""
    path = folder / FEATURES
    if not path.exists():
        return
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    foreign = [name for name in _feature_classes(description) if not _is_own_feature(name)]
    if foreign:
        raise UserError(
            f"{path} asks for the Python class {foreign[0]}, whose module would be run: only "
            f"features of {OWN_FEATURES}* are taken; write the dataset with those"
        )


def _feature_classes(description: object) -> Iterator[str]:
    """The classes that a features.json names, in any of the spellings that TFDS takes."""
    if isinstance(description, dict):
        for key, value in description.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str):
                yield value
            yield from _feature_classes(value)
    elif isinstance(description, list):
        for value in description:
            yield from _feature_classes(value)


def _is_own_feature(name: str) -> bool:
    """Whether it is TFDS's; a name without a dot is one of its own, or none."""
    return name.startswith(OWN_FEATURES) or "." not in name


def _refuse_foreign_names(name: str, data_dir: str | None) -> None:
    """As `_refuse_foreign_features`, of what TFDS would open in `data_dir` by that name."""
    folder = epath.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    folder /= name.partition(":")[0].partition("/")[0]
    below = _folders_in(folder)  # NAME/VERSION, or NAME/CONFIG/VERSION
    for version in [*below, *(path for config in below for path in _folders_in(config))]:
        _refuse_foreign_features(version)


def _folders_in(folder: epath.Path) -> list[epath.Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _open_name(name: str, data_dir: str | None, download: bool) -> Any:
    _refuse_foreign_names(name, data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        close = difflib.get_close_matches(name.partition("/")[0], tfds.list_builders(), n=1)
        hint = f"; the nearest TFDS name is {close[0]}" if close else ""
        raise UserError(
            f"{name} is neither a dataset folder that exists nor a TFDS name{hint}. To make a "
            f"folder: python -m beam_jobs.build_dataset --input IMAGES --output {name}"
        ) from error
    except (ImportError, AssertionError) as error:  # a package or a version that is not there
        raise UserError(f"TFDS cannot open {name}: {one_line(error)}") from error
    if builder.is_prepared():
        return builder
    where = f"data_dir {data_dir}" if data_dir else "TFDS's data_dir"
    if not download:
        raise NotPrepared(
            f"the TFDS dataset {name} has not been prepared in {where}: get it with "
            f"{build_command(name, data_dir)}"
        )
    try:
        builder.download_and_prepare(file_format="tfrecord")
    except Exception as error:  # network, checksum, manual download, missing package
        raise UserError(
            f"the TFDS dataset {name} is not in {where} and could not be prepared: "
            f"{one_line(error, None)}"
        ) from error
    return builder


def build_command(name: str, data_dir: str | None) -> str:
    """The command that prepares a TFDS dataset, named with or without a version."""
    return f"tfds build {name.partition(':')[0]}" + (f" --data_dir {data_dir}" if data_dir else "")


def test_split_name(source: Source) -> str:
    """The split to measure on where none is named: `build_dataset` writes no test by default."""
    if "test" not in source.split_names and "validation" in source.split_names:
        return "validation"
    return "test"


def _feature_error(builder: Any, source: str, role: str, key: str, wanted: str) -> UserError:
    kinds = {name: type(kind).__name__ for name, kind in builder.info.features.items()}
    listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items()))
    return UserError(
        f"{source} has no {wanted} feature named {key}; its features: {listed}. Name another with "
        f"{role}_key"
    )
