"""The page of `find_duplicates`: the pairs side by side, and how far apart they are."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Collection, Sequence

from beam_jobs.dataset import shards
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.duplicates.duplicate_pairs import Pair, Place
from beam_jobs.images.thumbnails import thumbnail
from groundwork.pages import (
    Bar,
    Bars,
    Card,
    Cards,
    Code,
    Fold,
    Gallery,
    Page,
    Part,
    Picture,
    Section,
    Table,
    Text,
    Tile,
)

_STEP = 10
"""Bits in one range of distances."""


def page(
    pairs: Sequence[Pair], excluded: Collection[str], images: int, options: DuplicateOptions
) -> Page:
    """The page of a search for duplicates.

    Args:
        pairs: all that were found, the least alike first; the first `options.show` are shown.
        excluded: keys of the images to leave out.
        images: number of images in `options.input`.
        options: of the search.
    """
    return Page(
        kind="Near-duplicates",
        subject=options.input,
        headline=_headline(len(excluded), images, options),
        lead=f"Hashes that differ in at most {options.distance} of 256 bits. Unrelated "
        "photographs differ in 85 or more, nearly always.",
        summary=[
            Cards(
                [
                    Card("Pairs", f"{len(pairs):,}"),
                    Card("To leave out", f"{len(excluded):,}", f"of {images:,} images"),
                    Card("Compared with", _others(options, "itself")),
                ]
            )
        ],
        sections=_sections(pairs, excluded, options) if pairs else [],
    )


def _others(options: DuplicateOptions, none: str) -> str:
    if not options.against:
        return none
    return options.against[0] if len(options.against) == 1 else f"{len(options.against)} datasets"


def _headline(excluded: int, images: int, options: DuplicateOptions) -> str:
    other = f"an image of {_others(options, '')}" if options.against else "another one"
    if not excluded:
        return f"None of {images:,} images looks like {other}"
    look = "looks" if excluded == 1 else "look"
    return f"{excluded:,} of {images:,} images ({excluded / images:.2%}) {look} like {other}"


def _sections(
    pairs: Sequence[Pair], excluded: Collection[str], options: DuplicateOptions
) -> list[Section]:
    shown = pairs[: options.show]
    thumbnails = _thumbnails({place for pair in shown for place in (pair.first, pair.second)})
    left_out = "the second image is the one to leave out"
    if not options.against:
        left_out += "; where three or more look alike, the first may be left out, too"
    return [
        Section("Distances", [_distances(pairs, options.distance)]),
        Section(
            "Pairs",
            [
                Gallery([_tile(pair, excluded, thumbnails, options) for pair in shown]),
                Fold("The same pairs as a table", [_table(shown)]),
            ],
            lead=f"{len(shown):,} of {len(pairs):,} pairs, the least alike first, since that is "
            f"where mistakes are; {left_out}.",
        ),
        Section("Leave them out", _remedy(options)),
    ]


def _distances(pairs: Sequence[Pair], limit: int) -> Bars:
    counts = Counter(_range(pair.distance) for pair in pairs)
    names = dict.fromkeys(_range(distance) for distance in range(limit + 1))
    return Bars(
        [Bar(name, [counts[name]], f"{counts[name]:,}") for name in names],
        title="Pairs by the number of bits that differ",
        caption="Pairs near the limit are the least certain: --max_distance draws the line.",
    )


def _range(distance: int) -> str:
    if distance == 0:
        return "0: same hash"
    start = (distance - 1) // _STEP * _STEP + 1
    return f"{start} to {start + _STEP - 1}"


def _tile(
    pair: Pair,
    excluded: Collection[str],
    thumbnails: dict[Place, bytes],
    options: DuplicateOptions,
) -> Tile:
    def picture(place: Place, fate: str) -> Picture:
        return Picture(thumbnails[place], f"{fate}: {place.key}", f"{fate}: {place.key}")

    if options.against:
        fate = f"in {pair.first.folder}"
    else:
        fate = "left out, too" if pair.first.key in excluded else "kept"
    return Tile(
        [picture(pair.first, fate), picture(pair.second, "left out")],
        caption="same hash" if pair.distance == 0 else f"{pair.distance} of 256 bits differ",
        facets={"Bits that differ": [_range(pair.distance)], "Dataset": [pair.first.folder]},
    )


def _table(pairs: Sequence[Pair]) -> Table:
    return Table(
        ["left out", "looks like", "in", "bits that differ"],
        [[pair.second.key, pair.first.key, pair.first.folder, pair.distance] for pair in pairs],
    )


def _remedy(options: DuplicateOptions) -> list[Part]:
    path = shlex.quote(f"{options.output}/exclude.txt")
    return [
        Text("Build the dataset again with the list of keys to leave out:"),
        Code(f"python -m beam_jobs.build_dataset … --exclude {path}"),
    ]


def _thumbnails(places: Collection[Place]) -> dict[Place, bytes]:
    """A JPEG file of each image, scaled down."""
    found = {}
    by_shard = sorted(places, key=lambda place: (place.folder, place.shard, place.number))
    for (folder, shard), group in itertools.groupby(by_shard, key=lambda p: (p.folder, p.shard)):
        wanted = {place.number: place for place in group}
        for number, example in enumerate(shards.read_examples(folder, shard)):
            if number in wanted:
                found[wanted[number]] = thumbnail(example.image)
    return found
