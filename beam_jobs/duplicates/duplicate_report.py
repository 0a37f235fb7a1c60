"""From hashes to pairs, an exclude list and a page that shows the pairs."""

from __future__ import annotations

import html
import itertools
import json

from beam_jobs.corpus import exclude
from beam_jobs.dataset import shards
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.duplicates.duplicate_pairs import Pair, Place
from beam_jobs.images.thumbnails import thumbnail_url
from groundwork import storage


def write(pairs: list[Pair], images: int, options: DuplicateOptions) -> None:
    """Write the report's files and print what was found.

    Args:
        pairs: sorted.
        images: how many --input has.
        options: of the job.
    """
    excluded = {pair.second.key for pair in pairs} if options.against else _all_but_one(pairs)
    lines = [
        {
            "first": pair.first.key,
            "first_dataset": pair.first.folder,
            "second": pair.second.key,
            "second_dataset": pair.second.folder,
            "distance": pair.distance,
        }
        for pair in pairs
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    storage.write_text(storage.join(options.output, "pairs.jsonl"), text)
    exclude_list = storage.join(options.output, "exclude.txt")
    exclude.write(exclude_list, excluded)
    page = storage.join(options.output, "index.html")
    storage.write_text(page, _page(pairs[::-1][: options.show], len(pairs)))
    share = len(excluded) / images if images else 0
    print(
        f"{len(pairs):,} pairs; {len(excluded):,} of {images:,} images ({share:.2%}) are to "
        f"be left out: build_dataset --exclude {exclude_list}; pictures: {page}"
    )


def _all_but_one(pairs: list[Pair]) -> set[str]:
    """The keys of all images but the first of each group that pairs join (union-find)."""
    parent: dict[Place, Place] = {}

    def root(place: Place) -> Place:
        while (above := parent.get(place, place)) != place:
            parent[place] = parent.get(above, above)
            place = above
        return place

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        parent[high] = low
    places = {place for pair in pairs for place in (pair.first, pair.second)}
    return {place.key for place in places if root(place) != place}


def _page(pairs: list[Pair], total: int) -> str:
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
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Near-duplicates</title>'
        "<style>body{font-family:sans-serif}td{padding:6px;vertical-align:top}</style>"
        f"<h1>Near-duplicates</h1><p>{len(pairs):,} of {total:,} pairs, the least alike first; the "
        "distance is the number of bits, of 256, in which the hashes differ. The images on the "
        "right are in the exclude list, unless another image stands for them.</p>"
        f"<table><tr><th>distance</th><th>kept</th><th>left out</th></tr>{''.join(rows)}</table>"
        "</html>\n"
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
