"""What predictions on a test split tell beyond accuracy. All arrays are NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CALIBRATION_BINS = 15


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts, int `[classes, classes]`: rows are labels, columns predictions."""
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassResult:
    """How one class fares."""

    name: str
    examples: int
    accuracy: float
    """From 0 to 1."""
    taken_for: str | None
    """The class it is most often mistaken for; None without mistakes."""


def worst_classes(confusion: np.ndarray, names: list[str], count: int) -> list[ClassResult]:
    """The `count` classes of lowest accuracy, worst first; classes without examples are left out.

    Args:
        confusion: from `confusion_matrix`.
        names: of the classes.
        count: how many to give.
    """
    examples = confusion.sum(axis=1)
    right = np.diag(confusion)
    accuracy = right / np.maximum(examples, 1)
    mistakes = confusion - np.diag(right)
    present = np.flatnonzero(examples)
    order = present[np.argsort(accuracy[present], kind="stable")][:count]
    return [
        ClassResult(
            name=names[i],
            examples=int(examples[i]),
            accuracy=float(accuracy[i]),
            taken_for=names[mistakes[i].argmax()] if mistakes[i].any() else None,
        )
        for i in order
    ]


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in bins of equal width; empty bins are left out."""

    confidence: np.ndarray
    """Mean confidence of each bin, 0 to 1."""
    accuracy: np.ndarray
    """Accuracy of each bin, 0 to 1."""
    share: np.ndarray
    """Share of the examples in each bin; sums to 1."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, eq. 3), 0 to 1."""
        return float(np.sum(self.share * np.abs(self.accuracy - self.confidence)))


def calibration(confidences: np.ndarray, hits: np.ndarray) -> Calibration:
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
    labels: np.ndarray, predictions: np.ndarray, confidences: np.ndarray | None, count: int
) -> list[int]:
    """Indices of wrong predictions: the most confident; without confidences, evenly spaced."""
    wrong = np.flatnonzero(labels != predictions)
    if not len(wrong):
        return []
    if confidences is not None:
        return wrong[np.argsort(-confidences[wrong], kind="stable")][:count].tolist()
    spaced = np.linspace(0, len(wrong) - 1, min(count, len(wrong))).round().astype(int)
    return wrong[spaced].tolist()
