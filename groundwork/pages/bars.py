"""Bars beside numbers, such as the accuracies of several models or the images of each class."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar


@dataclass(frozen=True)
class Bar:
    """One bar."""

    label: str
    values: Sequence[float]
    """Lengths of its segments, one for each name of the legend; without a legend, one."""
    text: str
    """The number, as it is to be read."""
    interval: tuple[float, float] | None = None
    """From where to where the value may lie; drawn as a line."""
    muted: bool = False
    """A bar to compare with, such as a baseline."""


@dataclass(frozen=True)
class Bars:
    """Bars of one scale, all of which begin at 0; negative ones go to the left."""

    macro: ClassVar[str] = "bars"
    bars: Sequence[Bar]
    title: str = ""
    caption: str = ""
    legend: Sequence[str] = ()
    """Names of the segments."""
    full: float | None = None
    """The value at the right end; None: the largest that is drawn."""

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The values at the left end, at most 0, and at the right end, at least 0."""
        drawn = [0.0, *(sum(bar.values) for bar in self.bars)]
        drawn += [value for bar in self.bars for value in bar.interval or ()]
        return min(drawn), max(drawn) if self.full is None else self.full

    def place(self, value: float) -> float:
        """Where `value` lies on the scale, from 0 to 1."""
        left, right = self.ends
        return min(max((value - left) / (right - left or 1.0), 0.0), 1.0)

    def segments(self, bar: Bar) -> list[tuple[float, float]]:
        """Start and length of each of the bar's segments, as shares of the scale."""
        stops = [self.place(sum(bar.values[:count])) for count in range(len(bar.values) + 1)]
        return [(min(pair), max(pair) - min(pair)) for pair in itertools.pairwise(stops)]
