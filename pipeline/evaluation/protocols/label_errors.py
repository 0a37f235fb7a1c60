"""Images whose label is probably wrong, by classifiers that have not seen them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.features.feature_set import FeatureSet
from pipeline.evaluation.protocols.linear_probe import LinearProbe, standardizer

FOLDS = 5
C = 1e-2
"""Inverse strength of the L2 penalty: strong, for a wrong label not to be learned by heart."""


@dataclass(frozen=True)
class LabelError:
    """An image, and the class that it more probably is of."""

    index: int
    """Its place among the examples."""
    label: int
    other: int
    probability: float
    """That of `other`, 0 to 1."""
    of_label: float
    """That of the label."""


def held_out_probabilities(examples: FeatureSet, num_classes: int) -> NDArray[np.float64]:
    """Of each class for each example, `[examples, classes]`, by a logistic regression that was
    fitted to the other folds; zeros for classes that these lack."""
    from sklearn.model_selection import KFold

    probabilities = np.zeros((len(examples), num_classes))
    folds = KFold(min(FOLDS, len(examples)), shuffle=True, random_state=0)
    for fit, rest in folds.split(np.zeros(len(examples))):
        known = examples.take(fit)
        if len(np.unique(known.labels)) < 2:
            continue
        standardize = standardizer(known)
        regression = LinearProbe().regression().set_params(C=C)
        regression.fit(standardize.transform(known.features), known.labels)
        answers = regression.predict_proba(standardize.transform(examples.features[rest]))
        probabilities[np.ix_(rest, regression.classes_)] = answers
    return probabilities


def likely_label_errors(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> list[LabelError]:
    """Confident learning (Northcutt et al. 2021, section 3.1), the clearest errors first.

    An image counts as one of another class where that class is as probable as it is, on average,
    for the images that have its label, and more probable than the image's own.

    Args:
        labels: int `[examples]`.
        probabilities: of `held_out_probabilities`.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    expected = np.array(
        [own[labels == c].mean() if (labels == c).any() else np.inf for c in range(classes)]
    )
    confident = np.where(probabilities >= expected, probabilities, -1.0)
    others = confident.argmax(axis=1)
    best = confident.max(axis=1)
    found = np.flatnonzero((best > own) & (others != labels))
    return [
        LabelError(int(i), int(labels[i]), int(others[i]), float(best[i]), float(own[i]))
        for i in sorted(found, key=lambda i: own[i] - best[i])
    ]
