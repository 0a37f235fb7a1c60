"""What `describe_dataset` says: as values, as lines of text, as a page."""

from __future__ import annotations

import html
import statistics as middle
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from beam_jobs.dataset.dataset_reader import Dataset
from beam_jobs.dataset.summary import human_bytes
from beam_jobs.inspection.describe_shard import Statistics

_SHOWN_GROUPS = 1000
"""Groups of equal images that are listed; the rest is counted."""


def report(dataset: Dataset, shards: list[Statistics]) -> dict[str, Any]:
    """All values, ready for JSON.

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
    return {
        "dataset": dataset.folder,
        "images": images,
        "image_bytes": sum(shard.image_bytes for shard in shards),
        "splits": {split: sum(lengths) for split, lengths in dataset.lengths.items()},
        "classes": {
            name: {split: by_split[split][number] for split in dataset.lengths}
            for number, name in enumerate(dataset.class_names)
        },
        "formats": dict(formats.most_common()),
        "width": _range([width for width, _ in sizes.elements()]),
        "height": _range([height for _, height in sizes.elements()]),
        "channel_mean": mean.round(6).tolist(),
        "channel_deviation": np.sqrt(np.maximum(squares - mean**2, 0)).round(6).tolist(),
        "equal_images": sum(len(group) - 1 for group in equal),
        "equal_groups": equal[:_SHOWN_GROUPS],
    }


def lines(values: dict[str, Any]) -> str:
    """The main values as text."""
    counts = [sum(by_split.values()) for by_split in values["classes"].values()] or [0]
    splits = ", ".join(f"{name} {count:,}" for name, count in values["splits"].items())
    width, height = values["width"], values["height"]
    mean = ", ".join(f"{value:.3f}" for value in values["channel_mean"])
    deviation = ", ".join(f"{value:.3f}" for value in values["channel_deviation"])
    formats = ", ".join(f"{count:,} {name}" for name, count in values["formats"].items())
    return "\n".join(
        (
            f"  images      {values['images']:,} ({splits}), {human_bytes(values['image_bytes'])}",
            f"  classes     {len(counts):,}, of {min(counts):,} to {max(counts):,} images",
            f"  sizes       width {width['min']} to {width['max']}, median {width['median']}; "
            f"height {height['min']} to {height['max']}, median {height['median']}",
            f"  formats     {formats}",
            f"  channels    mean {mean}; deviation {deviation} (red, green, blue; 0 to 1)",
            f"  duplicates  {values['equal_images']:,} images have the bytes of another one",
        )
    )


def page(dataset: Dataset, values: dict[str, Any], shards: list[Statistics], pictures: int) -> str:
    """The HTML page: the values, the classes, a contact sheet."""
    chosen = sorted(picture for shard in shards for picture in shard.pictures)[:pictures]
    sheet = "".join(
        f'<figure><img src="{url}" alt=""><figcaption>'
        f"{html.escape(', '.join(dataset.class_names[label] for label in labels))}"
        "</figcaption></figure>"
        for _, _, labels, url in chosen
    )
    splits = list(dataset.lengths)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{counts[split]:,}</td>" for split in splits)
        + "</tr>"
        for name, counts in values["classes"].items()
    )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("class", *splits))
    title = html.escape(values["dataset"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif}figure{display:inline-block;margin:4px;font-size:small}"
        "td{padding:2px 8px}</style>"
        f"<h1>{title}</h1><pre>{html.escape(lines(values))}</pre>"
        f"<h2>Pictures</h2>{sheet}<h2>Classes</h2><table><tr>{head}</tr>{rows}</table></html>\n"
    )


def _range(values: list[int]) -> dict[str, float]:
    if not values:
        return {"min": 0, "median": 0, "max": 0}
    return {"min": min(values), "median": middle.median(values), "max": max(values)}


def _equal_images(shards: list[Statistics]) -> list[list[str]]:
    """Keys of images with equal bytes, largest groups first."""
    keys: dict[bytes, list[str]] = defaultdict(list)
    for shard in shards:
        for digest, key in shard.digests:
            keys[digest].append(key)
    groups = [sorted(group) for group in keys.values() if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group))
