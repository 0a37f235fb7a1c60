"""The figure of a study: transfer accuracy against pre-training compute (figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipeline.rendering import save
from pipeline.study.pareto import pareto_front
from pipeline.study.results import MemberResult, mean_score, points

AXES = {
    "flops": "pre-training compute, FLOPs",
    "device_hours": "pre-training, measured device-hours",
}
MARKERS = "os^Dv*PX"


def draw_figure(
    results: Sequence[MemberResult], names: Sequence[str], title: str, label: str, path: Path
) -> None:
    """Draw each family's members, and the front through its best, to a PNG file.

    Args:
        results: finished members.
        names: downstream datasets to take the mean over.
        title: of the figure.
        label: of the accuracy.
        path: file to write.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, len(AXES), sharey=True)
    for axes, (unit, axis_label) in zip(panels, AXES.items(), strict=True):
        _draw_families(axes, results, names, unit)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())  # they would run into each other
        axes.set_xlabel(axis_label)
        axes.grid(alpha=0.3, which="both")
        axes.margins(x=0.15)
    panels[0].set_ylabel(label, fontsize=9)
    panels[0].legend(loc="lower right")
    figure.suptitle(title)
    save(figure, path)


def _draw_families(
    axes: matplotlib.axes.Axes, results: Sequence[MemberResult], names: Sequence[str], unit: str
) -> None:
    for index, (family, by_member) in enumerate(points(results, names, unit).items()):
        color = f"C{index}"
        front = pareto_front(by_member)
        axes.plot(
            [point.compute for point in front],
            [100 * point.accuracy for point in front],
            color=color,
            linewidth=1.5,
            alpha=0.7,
        )
        axes.errorbar(
            [point.compute for point in by_member],
            [100 * point.accuracy for point in by_member],
            yerr=[100 * point.error for point in by_member],
            fmt=MARKERS[index % len(MARKERS)],
            color=color,
            capsize=2,
            label=family,
        )
    for result in results:
        place = (getattr(result, unit), 100 * mean_score(result, names).mean)
        axes.annotate(
            result.name, place, xytext=(4, -9), textcoords="offset points", fontsize=7, color="0.3"
        )
