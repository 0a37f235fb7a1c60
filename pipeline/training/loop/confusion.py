"""Which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Confusions(NamedTuple):
    """Counts of (true class, answer), the pairs that occur alone: 21,843² would be too many."""

    labels: np.ndarray
    """int64 `[pairs]`: true classes."""
    answers: np.ndarray
    """int64 `[pairs]`: what the model said."""
    counts: np.ndarray
    """int64 `[pairs]`."""
    num_classes: int

    def matrix(self) -> np.ndarray:
        """Counts as int64 `[classes, classes]`, a row for each true class."""
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        matrix[self.labels, self.answers] = self.counts
        return matrix

    def most_confused(self, class_names: Sequence[str], count: int = 20) -> str:
        """The most frequent mistakes as a Markdown table."""
        wrong = np.flatnonzero(self.labels != self.answers)
        worst = wrong[np.argsort(-self.counts[wrong], kind="stable")][:count]
        totals = np.bincount(self.labels, weights=self.counts, minlength=self.num_classes)
        rows = [
            f"| {class_names[self.labels[i]]} | {class_names[self.answers[i]]} | {self.counts[i]} "
            f"| {self.counts[i] / totals[self.labels[i]]:.1%} |"
            for i in worst
        ]
        head = ["| class | taken for | images | of the class |", "|---|---|---:|---:|"]
        return "\n".join(head + rows)


def count_confusions(pairs: np.ndarray, num_classes: int) -> Confusions:
    """Count pairs, each `label * num_classes + answer`; negative ones (padding) do not count."""
    values, counts = np.unique(pairs[pairs >= 0], return_counts=True)
    return Confusions(*np.divmod(values, num_classes), counts, num_classes)
