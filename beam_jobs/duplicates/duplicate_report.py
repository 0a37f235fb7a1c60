"""From hashes to pairs, an exclude list and a page that shows the pairs."""

from __future__ import annotations

import html
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beam_jobs.corpus import exclude
from beam_jobs.dataset import shards
from beam_jobs.dataset.shards import Shard
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.duplicates.hash_shard import Hashes
from beam_jobs.duplicates.similar_pairs import similar_pairs
from beam_jobs.images.thumbnails import thumbnail_url


class Place(NamedTuple):
    """Where an image lies."""

    folder: str
    shard: Shard
    number: int
    key: str


class Pair(NamedTuple):
    """Two images that look alike."""

    distance: int
    first: Place
    second: Place
    """The one to leave out."""


def write(hashes: list[Hashes], options: DuplicateOptions) -> None:
    """Write the report's files and print what was found."""
    own = _gather([h for h in hashes if h.folder == options.input])
    if options.against:
        pairs = _pairs_against(
            own, _gather([h for h in hashes if h.folder in options.against]), options
        )
        excluded = {pair.second.key for pair in pairs}
    else:
        pairs, excluded = _pairs_within(own, options)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "first": pair.first.key,
            "first_dataset": pair.first.folder,
            "second": pair.second.key,
            "second_dataset": pair.second.folder,
            "distance": pair.distance,
        }
        for pair in sorted(pairs)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "pairs.jsonl").write_text(text, encoding="utf-8")
    exclude.write(str(folder / "exclude.txt"), excluded)
    _write_page(folder / "index.html", sorted(pairs, reverse=True)[: options.show], len(pairs))
    places, _ = own
    share = len(excluded) / len(places) if places else 0
    print(
        f"{len(pairs):,} pairs; {len(excluded):,} of {len(places):,} images ({share:.2%}) are to "
        f"be left out: build_dataset --exclude {folder}/exclude.txt; pictures: {folder}/index.html"
    )


def _gather(hashes: list[Hashes]) -> tuple[list[Place], np.ndarray]:
    """All images of these shards, in a fixed order, and their hashes, uint8 [n, variants, 32]."""
    ordered = sorted(hashes, key=lambda h: (h.folder, h.shard))
    places = [
        Place(h.folder, h.shard, number, key) for h in ordered for number, key in enumerate(h.keys)
    ]
    if not places:
        return [], np.zeros((0, 1, 32), np.uint8)
    return places, np.concatenate([h.bits for h in ordered])


def _pairs_against(
    own: tuple[list[Place], np.ndarray],
    others: tuple[list[Place], np.ndarray],
    options: DuplicateOptions,
) -> list[Pair]:
    """Images of the input that look like one of the others; either may be the changed copy."""
    (own_places, own_bits), (other_places, other_bits) = own, others
    found: dict[tuple[int, int], int] = {}
    for query, image, distance in zip(
        *similar_pairs(own_bits[:, 0], other_bits, options.max_distance), strict=True
    ):
        found[int(image), int(query)] = int(distance)
    for query, image, distance in zip(
        *similar_pairs(other_bits[:, 0], own_bits, options.max_distance), strict=True
    ):
        key = (int(query), int(image))
        found[key] = min(int(distance), found.get(key, int(distance)))
    return [Pair(d, other_places[one], own_places[two]) for (one, two), d in found.items()]


def _pairs_within(
    own: tuple[list[Place], np.ndarray], options: DuplicateOptions
) -> tuple[list[Pair], set[str]]:
    """Pairs among the input's images, and the keys of all but one of each group."""
    places, bits = own
    found: dict[tuple[int, int], int] = {}
    for query, image, distance in zip(
        *similar_pairs(bits[:, 0], bits, options.max_distance), strict=True
    ):
        if query != image:
            key = (min(int(query), int(image)), max(int(query), int(image)))
            found[key] = min(int(distance), found.get(key, int(distance)))
    kept = _groups(len(places), list(found))
    excluded = {places[number].key for number in range(len(places)) if kept[number] != number}
    return [Pair(d, places[one], places[two]) for (one, two), d in found.items()], excluded


def _groups(size: int, pairs: list[tuple[int, int]]) -> list[int]:
    """For each number, the smallest one that it is joined to by pairs (union-find)."""
    parent = list(range(size))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return [root(number) for number in range(size)]


def _write_page(path: Path, pairs: list[Pair], total: int) -> None:
    wanted = {place for pair in pairs for place in (pair.first, pair.second)}
    thumbnails = _thumbnails(wanted)
    rows = [
        f"<tr><td>{pair.distance}</td>"
        + "".join(
            f'<td><img src="{thumbnails[place]}" alt=""><br>'
            f"{html.escape(place.key)}<br><small>{html.escape(place.folder)}</small></td>"
            for place in (pair.first, pair.second)
        )
        + "</tr>"
        for pair in pairs
    ]
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Near-duplicates</title>'
        "<style>body{font-family:sans-serif}td{padding:6px;vertical-align:top}</style>"
        f"<h1>Near-duplicates</h1><p>{len(pairs):,} of {total:,} pairs, the least alike first; the "
        "distance is the number of bits, of 256, in which the hashes differ. The images on the "
        "right are in the exclude list, unless another image stands for them.</p>"
        f"<table><tr><th>distance</th><th>kept</th><th>left out</th></tr>{''.join(rows)}</table>"
        "</html>\n",
        encoding="utf-8",
    )


def _thumbnails(places: set[Place]) -> dict[Place, str]:
    """A data URL of each image, scaled down."""
    found = {}
    by_shard = sorted(places, key=lambda place: (place.folder, place.shard, place.number))
    for (folder, shard), group in itertools.groupby(by_shard, key=lambda p: (p.folder, p.shard)):
        wanted = {place.number: place for place in group}
        for number, example in enumerate(shards.read_examples(folder, shard)):
            if number in wanted:
                found[wanted[number]] = thumbnail_url(example.image)
    return found
