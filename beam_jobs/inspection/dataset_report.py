"""What `describe_dataset` says, as values and as lines of text."""

from __future__ import annotations

import bisect
import itertools
import statistics as middle
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beam_jobs.dataset.dataset_reader import Dataset
from beam_jobs.dataset.summary import human_bytes
from beam_jobs.inspection.describe_shard import Statistics

_SHOWN_GROUPS = 1000
"""Groups of equal images that are listed; the rest is counted."""


_SIDES = (32, 64, 128, 224, 256, 384, 512, 1024)
"""Where the ranges of the shorter side end: the resolutions that models are trained at."""


@dataclass(frozen=True)
class Range:
    """Of a size, in pixels."""

    min: int
    median: float
    max: int


@dataclass(frozen=True)
class DatasetReport:
    """All values, ready for JSON."""

    dataset: str
    """Its folder."""
    images: int
    image_bytes: int
    splits: dict[str, int]
    """Images of each split."""
    classes: dict[str, dict[str, int]]
    """Images of each class, by split."""
    formats: dict[str, int]
    """Images of each format, the commonest first."""
    width: Range
    height: Range
    shorter_side: dict[str, int]
    """Images by range of their shorter side, in pixels."""
    channel_mean: list[float]
    """Of red, green and blue, from 0 to 1."""
    channel_deviation: list[float]
    equal_images: int
    """Images with the bytes of another one that is kept."""
    equal_groups: list[list[str]]
    """Keys of images with equal bytes, the largest groups first."""


def report(dataset: Dataset, shards: Sequence[Statistics]) -> DatasetReport:
    """Add up the shards' statistics.

    Args:
        dataset: what the metadata says.
        shards: one for each shard, in any order.
    """
    images = sum(shard.images for shard in shards)
    sizes: Counter[tuple[int, int]] = Counter()
    formats: Counter[str] = Counter()
    by_split: dict[str, Counter[int]] = defaultdict(Counter)
    for shard in shards:
        sizes.update(shard.sizes)
        formats.update(shard.formats)
        by_split[shard.split].update(shard.labels)
    pixels = sum(shard.pixels for shard in shards)
    mean = np.sum([shard.channel_sum for shard in shards], axis=0) / max(pixels, 1)
    squares = np.sum([shard.channel_squares for shard in shards], axis=0) / max(pixels, 1)
    equal = _equal_images(shards)
    return DatasetReport(
        dataset=dataset.folder,
        images=images,
        image_bytes=sum(shard.image_bytes for shard in shards),
        splits={split: sum(lengths) for split, lengths in dataset.lengths.items()},
        classes={
            name: {split: by_split[split][number] for split in dataset.lengths}
            for number, name in enumerate(dataset.class_names)
        },
        formats=dict(formats.most_common()),
        width=_range([width for width, _ in sizes.elements()]),
        height=_range([height for _, height in sizes.elements()]),
        shorter_side=_shorter_sides(sizes),
        channel_mean=mean.round(6).tolist(),
        channel_deviation=np.sqrt(np.maximum(squares - mean**2, 0)).round(6).tolist(),
        equal_images=sum(len(group) - 1 for group in equal),
        equal_groups=equal[:_SHOWN_GROUPS],
    )


def class_sizes(values: DatasetReport) -> dict[str, int]:
    """Images of each class, of all splits."""
    return {name: sum(by_split.values()) for name, by_split in values.classes.items()}


def lines(values: DatasetReport) -> str:
    """The main values as text."""
    counts = list(class_sizes(values).values()) or [0]
    splits = ", ".join(f"{name} {count:,}" for name, count in values.splits.items())
    width, height = values.width, values.height
    mean = ", ".join(f"{value:.3f}" for value in values.channel_mean)
    deviation = ", ".join(f"{value:.3f}" for value in values.channel_deviation)
    formats = ", ".join(f"{count:,} {name}" for name, count in values.formats.items())
    return "\n".join(
        (
            f"  images      {values.images:,} ({splits}), {human_bytes(values.image_bytes)}",
            f"  classes     {len(counts):,}, of {min(counts):,} to {max(counts):,} images",
            f"  sizes       width {width.min} to {width.max}, median {width.median}; "
            f"height {height.min} to {height.max}, median {height.median}",
            f"  formats     {formats}",
            f"  channels    mean {mean}; deviation {deviation} (red, green, blue; 0 to 1)",
            f"  duplicates  {values.equal_images:,} images have the bytes of another one",
        )
    )


def _range(values: list[int]) -> Range:
    if not values:
        return Range(0, 0, 0)
    return Range(min(values), middle.median(values), max(values))


def _shorter_sides(sizes: Counter[tuple[int, int]]) -> dict[str, int]:
    """Images by range of their shorter side, from the first range with images to the last."""
    counts = [0] * (len(_SIDES) + 1)
    for size, images in sizes.items():
        counts[bisect.bisect_right(_SIDES, min(size))] += images
    filled = [number for number, count in enumerate(counts) if count]
    if not filled:
        return {}
    names = [f"below {_SIDES[0]}"]
    names += [f"{start} to {end - 1}" for start, end in itertools.pairwise(_SIDES)]
    names.append(f"{_SIDES[-1]} and more")
    shown = slice(filled[0], filled[-1] + 1)
    return dict(zip(names[shown], counts[shown], strict=True))


def _equal_images(shards: Sequence[Statistics]) -> list[list[str]]:
    """Keys of images with equal bytes, largest groups first."""
    keys: dict[bytes, list[str]] = defaultdict(list)
    for shard in shards:
        for digest, key in shard.digests:
            keys[digest].append(key)
    groups = [sorted(group) for group in keys.values() if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group))
