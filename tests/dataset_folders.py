"""Small dataset folders for the tests, written as TFDS documents its format."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf
import tensorflow_datasets as tfds

REPOSITORY = Path(__file__).resolve().parents[1]

Example = tuple[bytes, int, str]
"""Encoded image, label, key."""


def encode(pixels: np.ndarray, file_format: str = "PNG", **options) -> bytes:
    """Pixels, uint8 [h, w, 3] or [h, w], to the bytes of an image file."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def write_dataset_folder(
    folder: Path,
    splits: Mapping[str, Iterable[Example]],
    class_names: Sequence[str],
    num_shards: int = 2,
) -> Path:
    """Write a TFDS dataset folder with features image, label and key."""
    folder.mkdir(parents=True, exist_ok=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=list(class_names)),
            "key": tfds.features.Text(),
        }
    )
    infos = [
        write_split(folder, features, name, map(_as_dict, examples), num_shards)
        for name, examples in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, check_data=False
    )
    return folder


def write_split(
    folder: Path,
    features: tfds.features.FeaturesDict,
    split: str,
    examples: Iterable[dict],
    num_shards: int,
    name: str = "small",
) -> tfds.core.SplitInfo:
    """Write one split, examples dealt to the shards in turn (not in order of the shards)."""
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, split=split, filetype_suffix="tfrecord"
    )
    shards: list[list[bytes]] = [[] for _ in range(num_shards)]
    for index, example in enumerate(examples):
        encoded = features.encode_example(example)
        shards[index % num_shards].append(features.serialize_example(encoded))
    for index, shard in enumerate(shards):
        path = template.sharded_filepath(shard_index=index, num_shards=num_shards)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for serialized in shard:
                writer.write(serialized)
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(shard) for shard in shards],
        num_bytes=sum(len(record) for shard in shards for record in shard),
        filename_template=template,
    )


def _as_dict(example: Example) -> dict:
    return dict(zip(("image", "label", "key"), example, strict=True))
