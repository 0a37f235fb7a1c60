"""Tables that are sorted by a click on a heading and searched in a field above them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Number:
    """A number that is shown in other words than its column's, such as "92.3 ± 0.4"."""

    value: float
    """What the column is sorted by."""
    text: str
    tone: Literal["neutral", "good", "bad"] = "neutral"


Cell = str | int | float | Number | None
"""None, and a float that is no number, are shown as a dash and stand last in any order."""


@dataclass(frozen=True)
class Column:
    """A heading, and how the numbers below it are shown."""

    name: str
    spec: str = ","
    """Format of plain numbers, as `format` takes it."""
    bar: bool = False
    """Draw a bar beside each number, the largest of which fills the column."""
    full: float | None = None
    """The number whose bar fills the column, such as 1 for shares; None: the largest."""


@dataclass(frozen=True)
class DrawnCell:
    """A cell as the template needs it."""

    text: str
    value: float | None = None
    """Set if it is a number."""
    share: float | None = None
    """Length of its bar, from 0 to 1; None: no bar."""
    tone: str = "neutral"


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers.

    Raises:
        ValueError: a row has not one cell for each column.
    """

    macro: ClassVar[str] = "table"
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    shown: int = 20
    """Rows that are shown before a click on "Show all"."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells in a table of {len(self.columns)} columns")

    @cached_property
    def heads(self) -> list[Column]:
        """The columns, those that were given by name alone included."""
        return [Column(one) if isinstance(one, str) else one for one in self.columns]

    @property
    def bars(self) -> int:
        """How many columns draw bars; they share what the others leave."""
        return sum(column.bar for column in self.heads)

    @cached_property
    def numeric(self) -> list[bool]:
        """Of each column, whether it holds numbers: at least one, and no text."""
        return [
            any(_number(row[i]) is not None for row in self.rows)
            and not any(isinstance(row[i], str) for row in self.rows)
            for i in range(len(self.columns))
        ]

    @cached_property
    def drawn(self) -> list[list[DrawnCell]]:
        """The cells as text, with the lengths of their bars."""
        largest = [
            column.full or max((_number(row[i]) or 0.0 for row in self.rows), default=0.0)
            for i, column in enumerate(self.heads)
        ]
        return [
            [
                _draw(cell, column, full)
                for cell, column, full in zip(row, self.heads, largest, strict=True)
            ]
            for row in self.rows
        ]


def _number(cell: Cell) -> float | None:
    value = cell.value if isinstance(cell, Number) else cell
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _draw(cell: Cell, column: Column, full: float) -> DrawnCell:
    if isinstance(cell, str):
        return DrawnCell(cell)
    value = _number(cell)
    if isinstance(cell, Number):
        text = cell.text
    else:
        text = "–" if value is None or cell is None else format(cell, column.spec)
    share = min(max(value / full, 0.0), 1.0) if column.bar and value and full > 0 else None
    if column.bar and share is None:
        share = 0.0
    return DrawnCell(text, value, share, cell.tone if isinstance(cell, Number) else "neutral")
