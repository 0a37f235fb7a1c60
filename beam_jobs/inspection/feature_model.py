"""The exported model inside a Beam worker. The only module here that imports TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from beam_jobs.dataset import shards
from beam_jobs.dataset.example import deserialize
from beam_jobs.dataset.shards import Shard
from beam_jobs.engines import progress
from groundwork import storage
from groundwork.errors import UserError

_SIGNATURE = "features"


class ShardImage(NamedTuple):
    """An image and its place."""

    shard: Shard
    number: int
    key: str
    labels: tuple[int, ...]
    image: bytes


class Features(NamedTuple):
    """What the model makes of an image."""

    shard: Shard
    number: int
    key: str
    labels: tuple[int, ...]
    features: np.ndarray
    """float32 `[width]`."""


class FeatureModel(ModelHandler):
    """Beam's handler of a SavedModel with the signature `features`: encoded images to vectors.

    Args:
        folder: of the SavedModel.
        batch_size: images at once, at most.
    """

    def __init__(self, folder: str, batch_size: int) -> None:
        super().__init__()
        self._folder = folder
        self._batch_size = batch_size

    def load_model(self) -> Any:
        """Load the SavedModel; raises UserError where it has no such signature."""
        import tensorflow as tf

        model = tf.saved_model.load(self._folder)
        if _SIGNATURE not in model.signatures:
            names = ", ".join(model.signatures) or "none"
            raise UserError(f"{self._folder} has no signature {_SIGNATURE}, only: {names}")
        return model

    def run_inference(
        self,
        batch: Sequence[ShardImage],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterator[Features]:
        """The features of a batch."""
        import tensorflow as tf

        signature = model.signatures[_SIGNATURE]
        ((name, _),) = signature.structured_input_signature[1].items()
        outputs = signature(**{name: tf.constant([element.image for element in batch])})
        valid = outputs.pop("valid", tf.ones([len(batch)], tf.bool)).numpy()
        (vectors,) = outputs.values()
        for element, is_valid in zip(batch, valid, strict=True):
            if not is_valid:
                raise UserError(f"{self._folder} cannot decode the image {element.key}")
        for element, vector in zip(batch, vectors.numpy().astype(np.float32), strict=True):
            progress.add(done=1)
            yield Features(element.shard, element.number, element.key, element.labels, vector)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Full batches, except for the last of a bundle."""
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}


def read_images(shard: Shard, folder: str) -> Iterator[ShardImage]:
    """The images of a shard."""
    for number, record in enumerate(shards.read(folder, shard)):
        example = deserialize(record)
        yield ShardImage(shard, number, example.key, example.labels, example.image)


def write_features(group: tuple[Shard, Iterable[Features]], folder: str, kind: str) -> None:
    """Write the features of a shard in the order of its images."""
    shard, unsorted = group
    rows = sorted(unsorted, key=lambda row: row.number)
    keys = [row.key for row in rows]
    labels = _labels([row.labels for row in rows])
    features = np.stack([row.features for row in rows])
    name = f"{shard.split}-{shard.index:05d}-of-{shard.count:05d}.{kind}"
    with storage.create(storage.join(folder, name)) as file:
        if kind == "npz":
            buffer = io.BytesIO()  # np.savez seeks, which an object store's file cannot
            np.savez(buffer, key=np.array(keys, np.str_), label=labels, features=features)
            file.write(buffer.getvalue())
        else:
            import pyarrow
            import pyarrow.parquet

            table = {"key": keys, "label": labels.tolist(), "features": features.tolist()}
            pyarrow.parquet.write_table(pyarrow.table(table), file)


def _labels(labels: list[tuple[int, ...]]) -> np.ndarray:
    """int64 `[n]` where each image has one label, otherwise `[n, most labels]` filled with -1."""
    if all(len(of_image) == 1 for of_image in labels):
        return np.array([of_image[0] for of_image in labels], np.int64)
    most = max(map(len, labels))
    filled = [(*of_image, *(-1,) * (most - len(of_image))) for of_image in labels]
    return np.array(filled, np.int64).reshape(len(labels), most)
