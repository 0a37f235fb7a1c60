"""The figure of a study: transfer accuracy against pre-training compute (figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipeline.figures.rendering import save, without_overlap

MARKERS = "os^Dv*PX"


@dataclass(frozen=True)
class Marked:
    """One model in a panel; accuracies in percent."""

    name: str
    compute: float
    accuracy: float
    error: float
    """Standard error."""
    on_front: bool
    """Whether no cheaper or equally cheap model of its family matches it."""


def draw_figure(
    panels: Mapping[str, Mapping[str, Sequence[Marked]]], title: str, label: str, path: Path
) -> None:
    """Draw each family's members, and the front through its best, to a PNG file.

    Args:
        panels: by the label of their horizontal axis, the members of each family.
        title: of the figure.
        label: of the accuracy.
        path: file to write.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for one, (axis_label, families) in zip(axes, panels.items(), strict=True):
        for index, (family, members) in enumerate(families.items()):
            _draw_family(one, family, members, index)
        one.set_xscale("log")
        one.xaxis.set_minor_formatter(NullFormatter())  # they would run into each other
        one.set_xlabel(axis_label)
        one.grid(alpha=0.3, which="both")
        one.margins(x=0.15, y=0.1)
    axes[0].set_ylabel(label, fontsize=9)
    axes[0].legend(loc="lower right")
    figure.suptitle(title)
    for one, families in zip(axes, panels.values(), strict=True):
        places = [
            (member.name, member.compute, member.accuracy)
            for members in families.values()
            for member in members
        ]
        without_overlap(one, places)
    save(figure, path)


def _draw_family(
    axes: matplotlib.axes.Axes, family: str, members: Sequence[Marked], index: int
) -> None:
    color = f"C{index}"
    front = sorted((one for one in members if one.on_front), key=lambda one: one.compute)
    axes.plot(
        [one.compute for one in front],
        [one.accuracy for one in front],
        color=color,
        linewidth=1.5,
        alpha=0.7,
    )
    axes.errorbar(
        [one.compute for one in members],
        [one.accuracy for one in members],
        yerr=[one.error for one in members],
        fmt=MARKERS[index % len(MARKERS)],
        color=color,
        capsize=2,
        label=family,
    )
