"""What predictions on a test split tell beyond accuracy. All arrays are NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.reports.transfer_result import ClassResult

CALIBRATION_BINS = 15

Labels = NDArray[np.integer]
Floats = NDArray[np.floating]


def confusion_matrix(labels: Labels, predictions: Labels, num_classes: int) -> Labels:
    """Counts, int `[classes, classes]`: rows are labels, columns predictions."""
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def class_results(confusion: Labels, names: Sequence[str]) -> list[ClassResult]:
    """How each class fares; those of lowest recall first, those without test images last.

    Args:
        confusion: from `confusion_matrix`.
        names: of the classes.
    """
    examples, taken = confusion.sum(axis=1), confusion.sum(axis=0)
    right = np.diag(confusion)
    mistakes = confusion - np.diag(right)
    recall = np.divide(right, examples, out=np.full(len(names), np.inf), where=examples > 0)
    return [
        ClassResult(
            name=names[i],
            examples=int(examples[i]),
            precision=_share(right[i], taken[i]),
            recall=_share(right[i], examples[i]),
            f1=_share(2 * right[i], examples[i] + taken[i]),
            taken_for=names[mistakes[i].argmax()] if mistakes[i].any() else None,
        )
        for i in np.argsort(recall, kind="stable")
    ]


def macro_mean(values: Sequence[float | None]) -> float:
    """Mean over classes; one without value, because nothing was taken for it, counts as 0."""
    return float(np.mean([value or 0.0 for value in values]))


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in bins of equal width; empty bins are left out."""

    confidence: Floats
    """Mean confidence of each bin, 0 to 1."""
    accuracy: Floats
    """Accuracy of each bin, 0 to 1."""
    share: Floats
    """Share of the examples in each bin; sums to 1."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, eq. 3), 0 to 1."""
        return float(np.sum(self.share * np.abs(self.accuracy - self.confidence)))


def calibration(confidences: Floats, hits: NDArray[np.bool_]) -> Calibration:
    """Compare confidence with accuracy.

    Args:
        confidences: probability of the predicted class, `[examples]`.
        hits: whether the prediction is right, bool `[examples]`.
    """
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    sums = [np.bincount(bins, values, CALIBRATION_BINS)[filled] for values in (confidences, hits)]
    return Calibration(
        confidence=sums[0] / counts[filled],
        accuracy=sums[1] / counts[filled],
        share=counts[filled] / len(hits),
    )


def most_instructive_errors(
    labels: Labels, predictions: Labels, confidences: Floats | None, count: int
) -> list[int]:
    """Indices of wrong predictions, of every class alike: the most confident first.

    Each class gives its most confident mistake, then each its second, and so on. Without
    confidences a class's mistakes come in the order of the test split.
    """
    wrong = np.flatnonzero(labels != predictions)
    if confidences is not None:
        wrong = wrong[np.argsort(-confidences[wrong], kind="stable")]
    rank = np.zeros(len(wrong), int)
    for label in np.unique(labels[wrong]):
        own = labels[wrong] == label
        rank[own] = np.arange(own.sum())
    chosen: list[int] = wrong[np.argsort(rank, kind="stable")][:count].tolist()
    return chosen
