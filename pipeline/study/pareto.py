"""How much more compute one family takes than another for the same accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRID = 101
DRAWS = 1000
INTERVAL = (2.5, 97.5)
FEWEST_DRAWS = 0.9
"""Share of the draws in which the ranges must overlap for an interval to be given."""


@dataclass(frozen=True)
class Point:
    """A member: what it cost and how well it transfers."""

    compute: float
    """In any unit, more than 0."""
    accuracy: float
    """From 0 to 1."""
    error: float = 0.0
    """Standard error of the accuracy."""


@dataclass(frozen=True)
class Ratio:
    """Compute of one family over that of another, at equal accuracy."""

    lowest_accuracy: float
    """The accuracies that both families' fronts reach begin here,"""
    highest_accuracy: float
    """and end here."""
    mean: float
    """Geometric mean over these accuracies."""
    at_lowest: float
    at_highest: float
    interval: tuple[float, float] | None
    """95 % interval of the mean, from the errors of the accuracies; None where these alone could
    make the ranges part."""


@dataclass(frozen=True)
class FamilyRatio:
    """Compute of a family over that of the reference, in one unit."""

    family: str
    reference: str
    unit: str
    """flops or device_hours."""
    ratio: Ratio | None
    why_none: str | None = None
    """Why there is no ratio."""


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no cheaper or equally cheap one matches in accuracy, by compute."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.compute, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def compute_ratio(family: Sequence[Point], reference: Sequence[Point]) -> Ratio | None:
    """Compute of `family` over that of `reference` at equal accuracy.

    Between the points of a front the logarithm of compute is linear in accuracy; nothing is
    extrapolated. None where no accuracy is reached by both fronts.
    """
    found = _log_ratios(family, reference)
    if found is None:
        return None
    accuracies, ratios = found
    generator = np.random.default_rng(0)
    draws = [
        _log_ratios(_redrawn(family, generator), _redrawn(reference, generator))
        for _ in range(DRAWS)
    ]
    means = [float(np.mean(draw[1])) for draw in draws if draw is not None]
    interval = None
    if len(means) >= FEWEST_DRAWS * DRAWS:
        low, high = np.exp(np.percentile(means, INTERVAL))
        interval = (float(low), float(high))
    return Ratio(
        lowest_accuracy=float(accuracies[0]),
        highest_accuracy=float(accuracies[-1]),
        mean=math.exp(np.mean(ratios)),
        at_lowest=math.exp(ratios[0]),
        at_highest=math.exp(ratios[-1]),
        interval=interval,
    )


def _log_ratios(
    family: Sequence[Point], reference: Sequence[Point]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Accuracies that both fronts reach, and the logarithms of the ratio there."""
    fronts = [pareto_front(points) for points in (family, reference)]
    lowest = max(front[0].accuracy for front in fronts)
    highest = min(front[-1].accuracy for front in fronts)
    if lowest > highest:
        return None
    accuracies = np.linspace(lowest, highest, GRID)
    ours, theirs = (
        np.interp(
            accuracies,
            [point.accuracy for point in front],
            [math.log(point.compute) for point in front],
        )
        for front in fronts
    )
    return accuracies, ours - theirs


def _redrawn(points: Sequence[Point], generator: np.random.Generator) -> list[Point]:
    """The same points as another test of them might have seen them."""
    return [
        Point(point.compute, point.accuracy + point.error * generator.standard_normal())
        for point in points
    ]
