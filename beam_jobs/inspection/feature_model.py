"""The exported model inside a Beam worker. The only module here that imports TensorFlow."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from beam_jobs.dataset import shards
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard
from beam_jobs.engines import progress
from groundwork import storage
from groundwork.errors import UserError

_SIGNATURE = "features"

Vectors = NDArray[np.float32]


class ExtractShard(beam.DoFn):
    """Writes the features of the images of a shard, in their order.

    Memory is bounded by the features of one shard, and a shard is what a later run can skip.

    Args:
        model: folder of the SavedModel, which has the signature `features`.
        batch_size: images given to it at once, at most.
        dataset: the dataset folder.
        output: where the files go.
        kind: npz or parquet.
    """

    def __init__(self, model: str, batch_size: int, dataset: str, output: str, kind: str) -> None:
        self._model = model
        self._batch_size = batch_size
        self._dataset = dataset
        self._output = output
        self._kind = kind

    def setup(self) -> None:
        """Load the SavedModel; raises UserError where it has no such signature."""
        self._features = load(self._model)

    def process(self, element: Shard) -> None:
        """Write the features of one shard."""
        keys: list[str] = []
        labels: list[tuple[int, ...]] = []
        features: list[Vectors] = []
        examples = shards.read_examples(self._dataset, element)
        for batch in _batches(examples, self._batch_size):
            features.append(self._features([example.image for example in batch]))
            keys += [example.key for example in batch]
            labels += [example.labels for example in batch]
            progress.add(done=len(batch))
        vectors = np.concatenate(features) if features else np.zeros((0, 0), np.float32)
        path = storage.join(self._output, f"{element.name}.{self._kind}")
        with storage.create(path) as file:
            if self._kind == "npz":
                np.savez(file, key=np.array(keys, np.str_), label=_labels(labels), features=vectors)
            else:
                _write_parquet(file, keys, _labels(labels), vectors)


def load(folder: str) -> Callable[[Sequence[bytes]], Vectors]:
    """The model's features: float32 `[images, width]` for encoded images.

    Raises:
        UserError: it has no signature `features`.
    """
    import tensorflow as tf

    if storage.is_remote(folder):  # TensorFlow knows fewer kinds of storage
        with tempfile.TemporaryDirectory() as copy:
            storage.copy_folder_to_local(folder, copy)
            model = tf.saved_model.load(copy)
    else:
        model = tf.saved_model.load(folder)
    if _SIGNATURE not in model.signatures:
        names = ", ".join(model.signatures) or "none"
        raise UserError(f"{folder} has no signature {_SIGNATURE}, only: {names}")
    signature = model.signatures[_SIGNATURE]
    ((name, _),) = signature.structured_input_signature[1].items()

    def features(images: Sequence[bytes]) -> Vectors:
        outputs = signature(**{name: tf.constant(images)})
        if not tf.reduce_all(outputs.pop("valid", True)):
            raise UserError(f"{folder} cannot decode an image: verify_dataset names it")
        (vectors,) = outputs.values()
        found: Vectors = vectors.numpy().astype(np.float32)
        return found

    features.model = model  # type: ignore[attr-defined]  # which owns the signature's variables
    return features


def _batches(examples: Iterator[Example], size: int) -> Iterator[list[Example]]:
    while batch := list(itertools.islice(examples, size)):
        yield batch


def _write_parquet(file: Any, keys: list[str], labels: NDArray[np.int64], vectors: Vectors) -> None:
    import pyarrow
    import pyarrow.parquet

    table = {"key": keys, "label": labels.tolist(), "features": vectors.tolist()}
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(table), content)
    file.write(content.getvalue())


def _labels(labels: list[tuple[int, ...]]) -> NDArray[np.int64]:
    """int64 `[n]` where each image has one label, otherwise `[n, most labels]` filled with -1."""
    if all(len(of_image) == 1 for of_image in labels):
        return np.array([of_image[0] for of_image in labels], np.int64)
    most = max(map(len, labels))
    filled = [(*of_image, *(-1,) * (most - len(of_image))) for of_image in labels]
    return np.array(filled, np.int64).reshape(len(labels), most)
