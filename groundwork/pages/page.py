"""A page, its sections, and the parts that need no thought of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from groundwork.pages.bars import Bars
from groundwork.pages.gallery import Gallery
from groundwork.pages.table import Table

Tone = Literal["neutral", "good", "bad"]
"""Whether something is as it should be; the words have to say so, too."""


@dataclass(frozen=True)
class Card:
    """One figure: what it is of, its value, and what else is to be known of it."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = "neutral"


@dataclass(frozen=True)
class Cards:
    """The figures that matter most, side by side."""

    macro: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True)
class Text:
    """A paragraph; with the tone "bad" a warning."""

    macro: ClassVar[str] = "text"
    text: str
    tone: Tone = "neutral"


@dataclass(frozen=True)
class Code:
    """Text whose line breaks count, such as a command or a file."""

    macro: ClassVar[str] = "code"
    text: str

    @classmethod
    def of_json(cls, values: object) -> Code:
        """`values` as indented JSON."""
        return cls(json.dumps(values, indent=1, ensure_ascii=False))


@dataclass(frozen=True)
class Figure:
    """A drawing, which a click shows at its full size."""

    macro: ClassVar[str] = "figure"
    image: bytes
    """PNG, JPEG, GIF, WebP or SVG file."""
    alt: str
    """What it shows, for who cannot see it."""
    caption: str = ""


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when their title is clicked."""

    macro: ClassVar[str] = "fold"
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Row:
    """Parts side by side where the window is wide enough."""

    macro: ClassVar[str] = "row"
    parts: Sequence[Part]


Part = Cards | Text | Code | Figure | Table | Bars | Gallery | Fold | Row


@dataclass(frozen=True)
class Section:
    """A heading, listed in the page's contents, and what stands below it."""

    title: str
    parts: Sequence[Part]
    lead: str = ""
    """A sentence on how to read it."""


@dataclass(frozen=True)
class Page:
    """A whole page."""

    kind: str
    """What sort of page it is, such as "Dataset"."""
    subject: str
    """What it is about, such as the folder of the dataset."""
    headline: str
    """The result, as a sentence."""
    sections: Sequence[Section]
    lead: str = ""
    """A sentence or two that belong to the headline."""
    summary: Sequence[Part] = ()
    """What stands above the first section: the most important cards and bars."""
