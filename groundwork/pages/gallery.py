"""Images with captions, filtered by class, and with what a model made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar


@dataclass(frozen=True)
class Picture:
    """An image."""

    image: bytes
    """PNG, JPEG, GIF, WebP or SVG file, best no larger than it is shown: 160 pixels."""
    alt: str
    """What it shows, for who cannot see it."""
    caption: str = ""


@dataclass(frozen=True)
class Score:
    """One of a model's answers."""

    name: str
    value: float
    """Probability, from 0 to 1."""
    right: bool = False
    """Whether it is the label."""


@dataclass(frozen=True)
class Tile:
    """One place in a gallery: an image, or several to be compared."""

    pictures: Sequence[Picture]
    caption: str = ""
    note: str = ""
    """A second, smaller line."""
    facets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the gallery filters by: values, such as class names, by the filter's name."""
    answers: Sequence[Score] = ()
    """The model's best answers, best first; shown when the tile is pointed at."""


@dataclass(frozen=True)
class Gallery:
    """Tiles, and one filter for each facet that they have."""

    macro: ClassVar[str] = "gallery"
    tiles: Sequence[Tile]
    caption: str = ""
    shown: int = 60
    """Tiles that are shown before a click on "Show all"."""

    @cached_property
    def filters(self) -> dict[str, list[tuple[str, int]]]:
        """Each facet's values, in the order of their names, with the number of their tiles.

        A facet that has the same single value everywhere is left out: it would filter nothing.
        """
        counts: dict[str, Counter[str]] = {}
        for tile in self.tiles:
            for facet, values in tile.facets.items():
                counts.setdefault(facet, Counter()).update(set(values))
        return {
            facet: sorted(values.items())
            for facet, values in counts.items()
            if len(values) > 1 or set(values.values()) != {len(self.tiles)}
        }
