"""Statistics of the images of one shard."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from beam_jobs.corpus import splits
from beam_jobs.dataset import shards
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard
from beam_jobs.engines import progress
from beam_jobs.images.thumbnails import thumbnail


class Sample(NamedTuple):
    """An image that is shown."""

    key_hash: int
    """What it was drawn by: the smallest are shown."""
    key: str
    labels: tuple[int, ...]
    split: str
    thumbnail: bytes
    """JPEG file."""


@dataclass
class Statistics:
    """Sums over a shard, which add up to those of the dataset."""

    split: str
    images: int = 0
    labels: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """By (width, height)."""
    formats: Counter[str] = field(default_factory=Counter)
    image_bytes: int = 0
    pixels: int = 0
    channel_sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    """Of red, green and blue, from 0 to 1."""
    channel_squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    digests: list[tuple[bytes, str]] = field(default_factory=list)
    """Of the encoded bytes, with the key."""
    samples: list[Sample] = field(default_factory=list)
    """The images with the smallest hashes."""


def describe_shard(shard: Shard, folder: str, pictures: int) -> Statistics:
    """Read a shard and add up its statistics; decodes every image in full."""
    statistics = Statistics(shard.split)
    chosen: list[tuple[int, Example]] = []
    for example in shards.read_examples(folder, shard):
        _add(statistics, example)
        # the smallest hashes are a random choice that does not depend on the shards
        chosen.append((splits.key_hash(example.key, "picture"), example))
        if len(chosen) > 2 * pictures:
            chosen = heapq.nsmallest(pictures, chosen, key=lambda pair: pair[0])
        progress.add(done=1)
    for key_hash, example in heapq.nsmallest(pictures, chosen, key=lambda pair: pair[0]):
        small = thumbnail(example.image)
        sample = Sample(key_hash, example.key, example.labels, shard.split, small)
        statistics.samples.append(sample)
    return statistics


def _add(statistics: Statistics, example: Example) -> None:
    with Image.open(io.BytesIO(example.image)) as image:
        statistics.formats[image.format or "unknown"] += 1
        levels = np.array(image.convert("RGB").histogram(), np.float64).reshape(3, 256)
        statistics.sizes[image.size] += 1
        statistics.pixels += image.width * image.height
    values = np.arange(256) / 255
    statistics.channel_sum += levels @ values
    statistics.channel_squares += levels @ values**2
    statistics.images += 1
    statistics.labels.update(example.labels)
    statistics.image_bytes += len(example.image)
    digest = hashlib.blake2b(example.image, digest_size=16).digest()
    statistics.digests.append((digest, example.key))
