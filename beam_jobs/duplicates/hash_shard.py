"""Perceptual hashes of the images of one shard."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput
from PIL import Image

from beam_jobs.dataset import shards
from beam_jobs.dataset.shards import Shard
from beam_jobs.duplicates import perceptual_hash, similar_pairs
from beam_jobs.duplicates.similar_pairs import Hashes, Ints
from beam_jobs.engines import progress
from groundwork.errors import JobError

KEYS = "keys"
"""Tagged output: (number of the shard, keys of its images)."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""An odd number whose product mixes all bits into the upper ones (Knuth's multiplicative hash)."""


class NumberedShard(NamedTuple):
    """A shard, and the numbers of its images among all that are compared."""

    number: int
    folder: str
    shard: Shard
    start: int
    end: int


class Block(NamedTuple):
    """Hashes of a shard's images that fall into one part of a table."""

    images: Ints
    """Numbers of the images, `[hashes]`."""
    asked: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether a hash is looked up among the others, `[hashes]`."""
    hashes: Hashes


class Hasher(Protocol):
    """Makes hashes of encoded images. Must pickle until it is set up."""

    asked: int
    """How many of an image's variants, from the first on, are looked up."""

    def setup(self) -> None:
        """Prepare the worker; called once."""

    def hash(self, images: Iterator[bytes]) -> Iterator[Hashes]:
        """For each image the packed hashes of its variants, `[variants, bytes]`, itself first."""


class PerceptualHasher:
    """Hashes what images look like.

    Args:
        crops, mirrored: the variants, see `perceptual_hash.variants`.
    """

    def __init__(self, *, crops: bool, mirrored: bool) -> None:
        self._crops = crops
        self._mirrored = mirrored
        self.asked = perceptual_hash.asked(crops=crops)

    def setup(self) -> None:
        """Nothing to prepare."""

    def hash(self, images: Iterator[bytes]) -> Iterator[Hashes]:
        """Packed bits of each image, `[variants, 32]`."""
        for encoded in images:
            with Image.open(io.BytesIO(encoded)) as image:
                image.draft("L", (256, 256))  # a JPEG is decoded no larger than is needed
                bits = perceptual_hash.variants(image, crops=self._crops, mirrored=self._mirrored)
            yield np.packbits(bits, axis=-1)


class HashShard(beam.DoFn):
    """Hashes the images of a `NumberedShard`; gives ((table, part), Block).

    Args:
        tables: the bits that each table looks at.
        parts: into how many a table falls.
        hasher: what makes hashes of encoded images.
    """

    def __init__(self, tables: Sequence[Ints], parts: int, hasher: Hasher) -> None:
        self._tables = tables
        self._parts = parts
        self._hasher = hasher

    def setup(self) -> None:
        """Prepare the hasher."""
        self._hasher.setup()

    def process(
        self, element: NumberedShard
    ) -> Iterator[tuple[tuple[int, int], Block] | TaggedOutput[str, tuple[int, list[str]]]]:
        """Hash one shard."""
        number, folder, shard, start, end = element
        keys: list[str] = []

        def images() -> Iterator[bytes]:
            for example in shards.read_examples(folder, shard):
                keys.append(example.key)
                yield example.image

        found = []
        for hashes in self._hasher.hash(images()):
            found.append(hashes)
            progress.add(done=1)
        if len(keys) != end - start:
            raise JobError(
                f"{folder}/{shard.file_name} has {len(keys)} images and should have {end - start}: "
                "python -m beam_jobs.verify_dataset says what to do"
            )
        if keys:
            yield TaggedOutput(KEYS, (number, keys))
            yield from self.blocks(start, np.stack(found))

    def blocks(self, start: int, found: Hashes) -> Iterator[tuple[tuple[int, int], Block]]:
        """Where the hashes of a shard go.

        Args:
            start: number of its first image.
            found: uint8 `[images, variants, 32]`; the image as it is first.
        """
        images, variants = found.shape[:2]
        hashes = found.reshape(images * variants, -1)
        numbers = start + np.repeat(np.arange(images), variants)
        asked = np.tile(np.arange(variants) < self._hasher.asked, images)
        for table, bits in enumerate(self._tables):
            mixed = (similar_pairs.keys(hashes, bits) * _SPREAD) >> np.uint64(32)
            parts = (mixed % np.uint64(self._parts)).astype(np.int64)
            for part in np.unique(parts).tolist():
                own = parts == part
                yield (table, part), Block(numbers[own], asked[own], hashes[own])
