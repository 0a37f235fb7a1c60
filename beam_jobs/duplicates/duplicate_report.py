"""From pairs to an exclude list and a page that shows them."""

from __future__ import annotations

import json

from beam_jobs.corpus import exclude
from beam_jobs.duplicates import duplicate_page
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.duplicates.duplicate_pairs import Pair, Place
from groundwork import pages, storage


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
    pages.write(duplicate_page.page(pairs[::-1], excluded, images, options), page)
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
