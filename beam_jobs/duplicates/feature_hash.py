"""Hashes of what a model sees in images: near in angle, few bits apart.

A bit says on which side of a random hyperplane the features lie (M. Charikar, "Similarity
Estimation Techniques from Rounding Algorithms", 2002): of two images whose features form an angle
of a, about a / pi of the bits differ. Features are first centered and scaled by those of some
images, since all that a network makes lies in a narrow cone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from beam_jobs.dataset import shards
from beam_jobs.dataset.shards import Shard
from beam_jobs.duplicates.similar_pairs import Hashes
from beam_jobs.inspection import feature_model
from beam_jobs.inspection.feature_model import Vectors

BITS = 1024
_SEED = 0
_SAMPLE = 512
"""Images by whose features those of all are centered and scaled; the same ones in each worker."""


class FeatureHasher:
    """Hashes encoded images through an exported model.

    Args:
        model: folder of the SavedModel, which has the signature `features`.
        batch_size: images given to it at once, at most.
        sample: dataset folder and shard of all images, in order; the first ones are the sample.
    """

    def __init__(self, model: str, batch_size: int, sample: Sequence[tuple[str, Shard]]) -> None:
        self._model = model
        self._batch_size = batch_size
        self._sample = sample
        self.asked = 1

    def setup(self) -> None:
        """Load the model and run it on the sample; raises UserError where it has no features."""
        self._features = feature_model.load(self._model)
        examples = itertools.chain.from_iterable(
            shards.read_examples(folder, shard) for folder, shard in self._sample
        )
        images = (example.image for example in itertools.islice(examples, _SAMPLE))
        vectors = np.concatenate(list(self._batches(images)))
        self._center = vectors.mean(axis=0)
        deviation = vectors.std(axis=0)
        # a feature that never changes says nothing
        self._scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0)
        rng = np.random.default_rng(_SEED)
        self._planes = rng.standard_normal((vectors.shape[1], BITS), np.float32)

    def hash(self, images: Iterator[bytes]) -> Iterator[Hashes]:
        """Packed bits of each image, `[1, BITS / 8]`: it has no variants."""
        for vectors in self._batches(images):
            sides = ((vectors - self._center) * self._scale) @ self._planes > 0
            yield from np.packbits(sides, axis=-1)[:, None]

    def _batches(self, images: Iterator[bytes]) -> Iterator[Vectors]:
        while batch := list(itertools.islice(images, self._batch_size)):
            yield self._features(batch)


def sampled_bits() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Those that tables look at: any."""
    return np.arange(BITS)
