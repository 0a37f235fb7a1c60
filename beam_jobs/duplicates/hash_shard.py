"""Perceptual hashes of the images of one shard."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from PIL import Image

from beam_jobs.dataset import shards
from beam_jobs.dataset.shards import Shard
from beam_jobs.duplicates import perceptual_hash
from beam_jobs.engines import progress


class Hashes(NamedTuple):
    """What is kept of a shard's images."""

    folder: str
    shard: Shard
    keys: list[str]
    bits: np.ndarray
    """Packed, uint8 `[images, variants, 32]`; the image as it is first."""


class HashShard(beam.DoFn):
    """Hashes the images of (folder, shard).

    Args:
        crops, mirrored: the variants, see `perceptual_hash.variants`.
    """

    def __init__(self, *, crops: bool, mirrored: bool) -> None:
        self._crops = crops
        self._mirrored = mirrored

    def process(self, element: tuple[str, Shard]) -> Iterator[Hashes]:
        """Hash one shard."""
        folder, shard = element
        keys, bits = [], []
        for example in shards.read_examples(folder, shard):
            with Image.open(io.BytesIO(example.image)) as image:
                image.draft("L", (256, 256))  # a JPEG is decoded no larger than is needed
                found = perceptual_hash.variants(image, crops=self._crops, mirrored=self._mirrored)
            keys.append(example.key)
            bits.append(np.packbits(found, axis=-1))
            progress.add(done=1)
        if keys:
            yield Hashes(folder, shard, keys, np.stack(bits))
