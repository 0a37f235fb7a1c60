"""How well each class is found where an image has any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MEASURES = ("average_precision", "f1", "threshold")


class ClassScores(NamedTuple):
    """How well each class is found among all images; each value `[classes]`.

    A class that no image is of has no average precision, no F1 and no threshold: NaN.
    """

    images: NDArray[np.int64]
    """That are of the class."""
    average_precision: NDArray[np.float64]
    """Mean of the precision at each image that is of the class, images in the order of their
    scores: scikit-learn's `average_precision_score`."""
    f1: NDArray[np.float64]
    """The largest F1 of any threshold: chosen on the same images."""
    threshold: NDArray[np.float64]
    """That F1's: images of at least this score are taken to be of the class. Half-way between the
    scores on either side of it."""

    def rows(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """The scores of logits as JSON values, a row for each class; of NaN null. The threshold is
        a probability."""
        thresholds = 1.0 / (1.0 + np.exp(-self.threshold))
        columns = zip(
            class_names, self.images, self.average_precision, self.f1, thresholds, strict=True
        )
        return [
            {"name": name, "images": int(images)}
            | {
                key: None if np.isnan(value) else float(value)
                for key, value in zip(MEASURES, values, strict=True)
            }
            for name, images, *values in columns
        ]

    def means(self) -> dict[str, float]:
        """Means over the classes that have images; all 0 where none has."""
        there = self.images > 0
        shown = {"mean_average_precision": self.average_precision, "best_f1": self.f1}
        return {n: float(v[there].mean()) if there.any() else 0.0 for n, v in shown.items()}


def class_scores(scores: NDArray[Any], labels: NDArray[np.bool_]) -> ClassScores:
    """How well scores tell the images of each class from all others.

    Images of equal score are taken together: none of them comes before another.

    Args:
        scores: `[images, classes]`, higher where the class is likelier.
        labels: whether the image is of the class, `[images, classes]`.
    """
    columns = [_one_class(scores[:, c], labels[:, c]) for c in range(labels.shape[1])]
    rows = np.array(columns, np.float64).reshape(-1, 3).T
    return ClassScores(labels.sum(axis=0, dtype=np.int64), *rows)


def _one_class(scores: NDArray[Any], labels: NDArray[np.bool_]) -> Sequence[float]:
    """Average precision, best F1 and its threshold."""
    total = np.count_nonzero(labels)
    if not total:
        return [np.nan] * 3
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each score
    found = np.cumsum(labels[order])[last]
    precision = found / (last + 1)
    average = np.sum(np.diff(found, prepend=0) / total * precision)
    f1 = 2 * found / (last + 1 + total)
    best = int(f1.argmax())
    around = ranked[last[best] : last[best] + 2].astype(np.float64)
    return [float(average), float(f1[best]), float(around.mean())]
