"""Scores of one protocol, over seeds, on the test split and on extra test sets.

The score is the accuracy; where an image has any number of labels, the mean average precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.training.objectives.class_scores import class_scores


class Hits(NamedTuple):
    """How often one classifier is right on an extra test set."""

    right: int
    counted: int
    """Images that have a label."""


@dataclass(frozen=True)
class ExtraScore:
    """Accuracy of one setting on an extra test set, from 0 to 1; see `Score`."""

    mean: float
    std: float
    accuracies: list[float]
    num_examples: int
    """Images that count: those that have a label."""


@dataclass(frozen=True)
class Score:
    """Test accuracy, or mean average precision, of one setting, from 0 to 1."""

    mean: float
    """Over the seeds."""
    std: float
    """Deviation over the seeds (n - 1 in its denominator); 0 with one."""
    accuracies: list[float]
    """One per seed."""
    chosen: dict[str, float]
    """Settings chosen on the validation part, or given, and what they reached there."""
    extra_tests: dict[str, ExtraScore] = field(default_factory=dict)
    """Of the same classifiers, by the name of the test set."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Score:
        """What `dataclasses.asdict` has made of a score."""
        extra = {name: ExtraScore(**one) for name, one in values["extra_tests"].items()}
        return cls(**{**values, "extra_tests": extra})


def accuracy(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of predictions that are right, or the mean average precision, from 0 to 1.

    Args:
        predictions: classes, int `[examples]`; or scores, `[examples, classes]`.
        labels: int `[examples]`; or bool `[examples, classes]`.
    """
    if labels.ndim == 2:
        return class_scores(predictions, labels).means()["mean_average_precision"]
    return float(np.mean(predictions == labels))


def count_hits(predictions: NDArray[np.integer], answers: NDArray[Any]) -> Hits:
    """Count right predictions where an image may have several right answers, or none.

    An image without a right answer does not count: "Are we done with ImageNet?" (arXiv 2006.07159)
    leaves such images out, and takes any of the others' labels.

    Args:
        predictions: classes, int `[examples]`.
        answers: bool `[examples, classes]`.
    """
    right = answers[np.arange(len(predictions)), predictions]
    return Hits(int(right.sum()), int(answers.any(axis=1).sum()))


def score(
    accuracies: Sequence[float],
    chosen: Mapping[str, float],
    extra_hits: Mapping[str, Sequence[Hits]] | None = None,
) -> Score:
    """Mean and deviation of accuracies.

    Args:
        accuracies: on the test split, one per seed.
        chosen: settings.
        extra_hits: on each extra test set, one per seed; no set without a labeled image.
    """
    extra = {}
    for name, hits in (extra_hits or {}).items():
        shares = [one.right / one.counted for one in hits]
        extra[name] = ExtraScore(*_mean_and_deviation(shares), shares, hits[0].counted)
    return Score(*_mean_and_deviation(accuracies), list(accuracies), dict(chosen), extra)


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
