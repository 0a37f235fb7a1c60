"""Few-shot linear evaluation: closed-form least squares on frozen features.

The protocol of the ViT paper (section 4.1: least squares to {-1, 1}^K on a few images of each
class), with big_vision's settings: features standardized by the mean and deviation of the training
shots, a constant feature of 100 for the bias, ridge penalty 2^10, shots drawn per class by
`numpy.random.default_rng(seed)`. All of it in NumPy and float64, so that it repeats anywhere.

The paper's penalty is one for all models and numbers of shots, which makes models comparable; what
a model can reach with a few images of each class, a penalty that is chosen on other images tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.features.feature_set import FeatureSet, TaskFeatures
from pipeline.evaluation.protocols.checks import check_positive, check_seeds
from pipeline.evaluation.protocols.protocol import Floats, Labels, Outcome, judge
from pipeline.evaluation.protocols.scores import Score, accuracy

PAPER_L2 = 1024.0
PAPER = "paper"
"""Name of the row with the paper's penalty."""
BIAS_FEATURE = 100.0
"""Value of the constant feature: large, so that the bias is hardly penalized."""
DEVIATION_FLOOR = 1e-5
ROWS = 8192
MOST_VALIDATION = 20_000
"""Validation images that a penalty is chosen on, at most: more cost time and change nothing."""
NAMED_CLASSES = 5


@dataclass
class FewShot:
    """Closed-form least squares on k images of each class (section 4.1 of the ViT paper)."""

    HEADING: ClassVar[str] = "Few-shot linear evaluation"
    SETTING: ClassVar[str] = "images per class"
    MULTI_LABEL: ClassVar[bool] = True

    shots: list[int] = field(default_factory=lambda: [1, 5, 10, 25])
    """Images of each class to learn from."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Draws of the images; mean and deviation are over these."""
    l2: list[float] = field(default_factory=lambda: [4.0**power for power in range(-5, 9)])
    """Strength of the ridge penalty. Of several, each number of shots takes the best on the
    validation part, and a second row has the paper's 1024; 1024 alone is the paper's protocol."""

    def check(self) -> None:
        """Raise a UserError where the options cannot be."""
        check_positive("few_shot.shots", self.shots)
        check_positive("few_shot.l2", self.l2)
        check_seeds("few_shot.seeds", self.seeds)

    def evaluate(self, task: TaskFeatures) -> Outcome:
        """Scores by shots."""
        l2 = self._choose_l2(task)
        scores: dict[str, Score] = {}
        paper: dict[str, Score] = {}
        for shots in self.shots:
            fits = [_fit_shots(task.train, task.num_classes, shots, seed) for seed in self.seeds]
            scores[str(shots)], predictions = _judge(task, fits, l2[shots])
            if len(self.l2) > 1:
                paper[str(shots)], _ = _judge(task, fits, PAPER_L2)
        return Outcome(
            scores,
            predictions,
            task.test.labels,
            None if task.multi_label else fits[0].probabilities(task.test.features, l2[shots]),
            also={PAPER: paper} if paper else {},
            notes=_short_classes(task, self.shots),
        )

    def _choose_l2(self, task: TaskFeatures) -> dict[int, float]:
        """For each number of shots, the penalty that is best on the validation part."""
        if len(self.l2) == 1:
            return dict.fromkeys(self.shots, self.l2[0])
        fit, validation = task.selection()
        if len(validation) > MOST_VALIDATION:
            order = np.random.default_rng(task.seed).permutation(len(validation))
            validation = validation.take(np.sort(order[:MOST_VALIDATION]))
        chosen = {}
        for shots in self.shots:
            fits = [_fit_shots(fit, task.num_classes, shots, seed) for seed in self.seeds]
            means: dict[float, float] = {}
            for l2 in self.l2:
                predicted = [one.predict(validation.features, l2) for one in fits]
                means[l2] = float(np.mean([accuracy(one, validation.labels) for one in predicted]))
            chosen[shots] = max(self.l2, key=lambda l2: (means[l2], l2))
        return chosen


def draw_shots(labels: Labels, num_classes: int, seed: int) -> list[Labels]:
    """Order the examples of each class at random; the first k of each are the k shots.

    Args:
        labels: int `[examples]`; or bool `[examples, classes]`.
        num_classes: number of classes.
        seed: of `numpy.random.default_rng`.

    Returns:
        For each class the indices of its examples, in their drawn order.
    """
    generator = np.random.default_rng(seed)
    hot = one_hot(labels, num_classes)
    return [generator.permutation(np.flatnonzero(hot[:, c])) for c in range(num_classes)]


def one_hot(labels: Labels, num_classes: int) -> NDArray[np.bool_]:
    """Labels as bool `[examples, classes]`; those that are it already as they are."""
    return labels if labels.ndim == 2 else labels[:, None] == np.arange(num_classes)


def take_shots(order: list[Labels], shots: int) -> Labels:
    """Indices of the first `shots` examples of each class; all of a class that has fewer."""
    return np.concatenate([indices[:shots] for indices in order])


@dataclass(frozen=True)
class LeastSquares:
    """Ridge regression to {-1, 1} targets, decomposed once for any strength of the penalty.

    With the standardized shots X `[n, d]` and targets Y `[n, classes]`, the weights are
    (XᵀX + l2·I)⁻¹XᵀY. The eigendecomposition is of XᵀX, or of XXᵀ where n < d.
    """

    mean: Floats
    deviation: Floats
    eigenvalues: Floats
    left: Floats
    right: Floats
    several: bool
    """Whether an example has any number of labels."""

    @classmethod
    def fit(cls, features: Floats, labels: Labels, num_classes: int) -> LeastSquares:
        """Decompose the shots.

        Args:
            features: `[n, width]`.
            labels: int `[n]`; or bool `[n, classes]`.
            num_classes: number of classes.
        """
        features = np.asarray(features, np.float64)
        mean = features.mean(axis=0)
        deviation = features.std(axis=0) + DEVIATION_FLOOR
        x = _standardized(features, mean, deviation)
        y = 2.0 * one_hot(labels, num_classes) - 1.0
        if len(x) >= x.shape[1]:
            eigenvalues, vectors = np.linalg.eigh(x.T @ x)
            left, right = vectors, vectors.T @ (x.T @ y)
        else:
            eigenvalues, vectors = np.linalg.eigh(x @ x.T)
            left, right = x.T @ vectors, vectors.T @ y
        return cls(mean, deviation, eigenvalues, left, right, several=labels.ndim == 2)

    def weights(self, l2: float) -> Floats:
        """Weights `[width + 1, classes]`; the last row belongs to the constant feature."""
        weights: Floats = (self.left / (self.eigenvalues + l2)) @ self.right
        return weights

    def decide(self, features: Floats, l2: float) -> Floats:
        """The regression's answers, float64 `[examples, classes]`, for `[examples, width]`."""
        weights = self.weights(l2)
        return np.concatenate(
            [
                _standardized(features[i : i + ROWS], self.mean, self.deviation) @ weights
                for i in range(0, len(features), ROWS)
            ]
        )

    def predict(self, features: Floats, l2: float) -> Labels:
        """Predicted classes, int `[examples]`, of features `[examples, width]`; where an example
        has any number of labels what `decide` gives."""
        decided = self.decide(features, l2)
        predicted: Labels = decided if self.several else np.argmax(decided, axis=1)
        return predicted

    def probabilities(self, features: Floats, l2: float) -> Floats:
        """Estimated probability of each class, `[examples, classes]`.

        A regression to targets of 0 and 1 estimates the probability of each class ("The Elements of
        Statistical Learning", section 4.2); here it is cut to [0, 1] and scaled to a sum of 1.
        """
        shares = np.clip((self.decide(features, l2) + 1.0) / 2.0, 1e-9, 1.0)
        scaled: Floats = shares / shares.sum(axis=1, keepdims=True)
        return scaled


def _standardized(features: Floats, mean: Floats, deviation: Floats) -> Floats:
    scaled = (np.asarray(features, np.float64) - mean) / deviation
    return np.pad(scaled, ((0, 0), (0, 1)), constant_values=BIAS_FEATURE)


def _fit_shots(train: FeatureSet, num_classes: int, shots: int, seed: int) -> LeastSquares:
    taken = take_shots(draw_shots(train.labels, num_classes, seed), shots)
    # drawn for several of its classes, an image is there once
    drawn = train.take(np.unique(taken) if train.labels.ndim == 2 else taken)
    return LeastSquares.fit(drawn.features, drawn.labels, num_classes)


def _judge(task: TaskFeatures, fits: Sequence[LeastSquares], l2: float) -> tuple[Score, Labels]:
    return judge(task, [partial(fit.predict, l2=l2) for fit in fits], {"l2": l2})


def _short_classes(task: TaskFeatures, shots: Sequence[int]) -> tuple[str, ...]:
    """A note for each number of shots that not all classes have."""
    counts = one_hot(task.train.labels, task.num_classes).sum(axis=0)
    notes = []
    for number in shots:
        short = np.flatnonzero(counts < number)
        if len(short):
            names = ", ".join(f"{task.name_of(i)} ({counts[i]})" for i in short[:NAMED_CLASSES])
            more = f" and {len(short) - NAMED_CLASSES} more" * (len(short) > NAMED_CLASSES)
            notes.append(
                f"{number} shots: all images were taken of the classes that have fewer: "
                f"{names}{more}"
            )
    return tuple(notes)
