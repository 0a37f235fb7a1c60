"""Bars beside numbers, such as the accuracies of several models or the images of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Bars of one scale, which begins at 0."""

    macro: ClassVar[str] = "bars"
    bars: Sequence[Bar]
    title: str = ""
    caption: str = ""
    legend: Sequence[str] = ()
    """Names of the segments."""
    full: float | None = None
    """The value at the right end; None: the largest that is drawn."""

    @property
    def scale(self) -> float:
        """The value at the right end, above 0."""
        ends = [sum(bar.values) for bar in self.bars]
        ends += [bar.interval[1] for bar in self.bars if bar.interval]
        return self.full or max(ends, default=0.0) or 1.0

    def share(self, value: float) -> float:
        """Where `value` lies on the scale, from 0 to 1."""
        return min(max(value / self.scale, 0.0), 1.0)
