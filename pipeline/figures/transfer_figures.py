"""Plots of a transfer report, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.rendering import fitting, save

READABLE_CLASSES = 60
NAME_LENGTH = 24
"""Characters of a class name beside a confusion matrix: longer ones would take its place."""


class MeanAndDeviation(Protocol):
    """An accuracy over seeds, from 0 to 1."""

    @property
    def mean(self) -> float:
        """Over the seeds."""

    @property
    def std(self) -> float:
        """Deviation over the seeds."""


def plot_few_shot(
    scores: Mapping[str, Mapping[str, MeanAndDeviation]], path: Path, metric: str = "accuracy"
) -> None:
    """Scores by images per class, with the deviation over seeds, to a PNG file.

    `scores` are by the name of the learner, as the legend shows it, and the number of shots.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, by_shots in scores.items():
        shots = [int(k) for k in by_shots]
        mean = np.array([score.mean for score in by_shots.values()]) * 100
        std = np.array([score.std for score in by_shots.values()]) * 100
        axes.errorbar(shots, mean, yerr=std, marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks(shots, [str(k) for k in shots])
    axes.minorticks_off()
    axes.set_xlabel("images per class")
    axes.set_ylabel(f"test {metric}, %")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and accuracy by step, of training and evaluation, to a PNG file.

    `rows` are those of metrics.jsonl.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name, factor in ((left, "loss", 1), (right, "accuracy", 100)):
        for split in ("train", "eval"):
            found = [row for row in rows if f"{split}/{name}" in row]
            values = [factor * row[f"{split}/{name}"] for row in found]
            axes.plot([row["step"] for row in found], values, marker=".", label=split)
        axes.set_xlabel("step")
        axes.set_ylabel("loss" if name == "loss" else "accuracy, %")
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)


def plot_confusion(confusion: NDArray[Any], names: list[str], path: Path) -> None:
    """`confusion_figure`, to a PNG file."""
    save(confusion_figure(confusion, names), path)


def confusion_figure(confusion: NDArray[Any], names: Sequence[str]) -> Figure:
    """Confusion matrix in shares of each row.

    Args:
        confusion: counts `[classes, classes]`, rows are labels.
        names: of the classes; left out where there are too many to read.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    readable = len(names) <= READABLE_CLASSES
    side = 3 + 0.22 * len(names) if readable else 7
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if readable:
        shown = [fitting(name, NAME_LENGTH) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), shown, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    figure.colorbar(drawn, shrink=0.6, label="share of the label's images")
    return figure


def plot_calibration(
    confidence: NDArray[Any],
    accuracy: NDArray[Any],
    share: NDArray[Any],
    expected_error: float,
    path: Path,
) -> None:
    """Accuracy against confidence, to a PNG file.

    Args:
        confidence: mean confidence of each bin, 0 to 1.
        accuracy: of each bin, 0 to 1.
        share: of the examples that lie in each bin.
        expected_error: expected calibration error, 0 to 1.
        path: file to write.
    """
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfectly calibrated")
    axes.plot(confidence, accuracy, color="tab:blue", alpha=0.5)
    sizes = 10 + 300 * share
    axes.scatter(confidence, accuracy, sizes, label="size: share of images")
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.set_title(f"expected calibration error {100 * expected_error:.1f} %")
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    save(figure, path)
