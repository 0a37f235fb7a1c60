"""The page of `describe_dataset`: the classes and their balance, sizes, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from beam_jobs.dataset.summary import human_bytes
from beam_jobs.inspection.dataset_report import DatasetReport, Range, class_sizes
from beam_jobs.inspection.describe_shard import Sample
from groundwork.pages import (
    Bar,
    Bars,
    Card,
    Cards,
    Code,
    Column,
    Fold,
    Gallery,
    Page,
    Part,
    Picture,
    Row,
    Section,
    Table,
    Tile,
)

_NEARLY = 1.5
"""The largest class has at most so many times the images of the smallest: nearly balanced."""


def page(values: DatasetReport, class_names: Sequence[str], samples: Sequence[Sample]) -> Page:
    """The page of a dataset folder.

    Args:
        values: what the dataset holds.
        class_names: by label.
        samples: the images to show.
    """
    splits = ", ".join(f"{count:,} in {name}" for name, count in values.splits.items())
    return Page(
        kind="Dataset",
        subject=values.dataset,
        headline=f"{_count(values.images, 'image')} of "
        f"{_count(len(values.classes), 'class', 'classes')}{_balance(values)}",
        lead=f"{splits}. {_duplicates(values)}",
        summary=[_cards(values)],
        sections=[
            Section("Classes", [_classes(values)]),
            Section("Images", [Row(_images(values))]),
            Section(
                "Samples",
                [Gallery([_tile(sample, class_names) for sample in samples])],
                lead="Drawn at random, the same each time.",
            ),
            *_equal(values),
            Section("Raw values", [Fold("dataset.json", [Code.of_json(asdict(values))])]),
        ],
    )


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _balance(values: DatasetReport) -> str:
    """How evenly the classes are filled, as the end of a sentence."""
    sizes = class_sizes(values).values()
    if len(sizes) < 2:
        return ""
    if empty := sum(size == 0 for size in sizes):
        return f", {empty:,} of which {'is' if empty == 1 else 'are'} empty"
    ratio = max(sizes) / min(sizes)
    if ratio == 1:
        return ", equally many of each"
    if ratio <= _NEARLY:
        return ", nearly balanced"
    return f"; the largest class is {ratio:,.1f} times the smallest"


def _duplicates(values: DatasetReport) -> str:
    if not values.equal_images:
        return "No two images have the same bytes."
    have = "image has" if values.equal_images == 1 else "images have"
    return f"{values.equal_images:,} {have} the bytes of another one."


def _cards(values: DatasetReport) -> Cards:
    sizes = sorted(class_sizes(values).values()) or [0]
    span = f"{sizes[0]:,} to {sizes[-1]:,}" if sizes[0] != sizes[-1] else f"{sizes[0]:,}"
    median = f"{values.width.median:g} × {values.height.median:g}"
    return Cards(
        [
            Card("Images", f"{values.images:,}", human_bytes(values.image_bytes)),
            Card("Classes", f"{len(values.classes):,}", f"of {span} images"),
            Card("Median size, pixels", median, _sizes(values.width, values.height)),
            Card(
                "Equal images",
                f"{values.equal_images:,}",
                "same bytes as another",
                tone="bad" if values.equal_images else "neutral",
            ),
        ]
    )


def _sizes(width: Range, height: Range) -> str:
    if width.min == width.max and height.min == height.max:
        return "all alike"
    return f"{width.min} to {width.max} wide, {height.min} to {height.max} high"


def _classes(values: DatasetReport) -> Table:
    several = list(values.splits) if len(values.splits) > 1 else []
    return Table(
        ["class", Column("images", bar=True), *several],
        [
            [name, size, *(values.classes[name][split] for split in several)]
            for name, size in class_sizes(values).items()
        ],
    )


def _images(values: DatasetReport) -> list[Part]:
    names = ("red", "green", "blue")
    channels = zip(names, values.channel_mean, values.channel_deviation, strict=True)
    return [
        _shares("Shorter side, pixels", values.shorter_side, values.images),
        _shares("Format", values.formats, values.images),
        Bars(
            [
                Bar(
                    name,
                    [mean],
                    f"{mean:.3f} ± {deviation:.3f}",
                    (max(mean - deviation, 0), min(mean + deviation, 1)),
                )
                for name, mean, deviation in channels
            ],
            title="Color channels, 0 to 1",
            caption="Mean of all pixels; lines: one standard deviation.",
            full=1,
        ),
    ]


def _shares(title: str, counts: dict[str, int], total: int) -> Bars:
    return Bars(
        [Bar(name, [count], f"{count:,}") for name, count in counts.items()],
        title=title,
        full=total,
    )


def _tile(sample: Sample, class_names: Sequence[str]) -> Tile:
    names = [class_names[label] for label in sample.labels]
    return Tile(
        [Picture(sample.thumbnail, f"{', '.join(names)}: {sample.key}")],
        caption=", ".join(names),
        note=sample.key,
        facets={"Class": names, "Split": [sample.split]},
    )


def _equal(values: DatasetReport) -> list[Section]:
    if not values.equal_groups:
        return []
    table = Table(
        ["first", "images", "others"],
        [[group[0], len(group), ", ".join(group[1:])] for group in values.equal_groups],
    )
    return [Section("Equal images", [table], lead="Groups with the same bytes, largest first.")]
