"""Few-shot linear evaluation: closed-form least squares on frozen features.

The protocol of the ViT paper (section 4.1: least squares to {-1, 1}^K on a few images of each
class), with big_vision's settings: features standardised by the mean and deviation of the training
shots, a constant feature of 100 for the bias, ridge penalty 2^10, shots drawn per class by
`numpy.random.default_rng(seed)`. All of it in NumPy and float64, so that it repeats anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BIAS_FEATURE = 100.0
"""Value of the constant feature: large, so that the bias is hardly penalised."""
DEVIATION_FLOOR = 1e-5
ROWS = 8192


def draw_shots(labels: np.ndarray, num_classes: int, seed: int) -> list[np.ndarray]:
    """Order the examples of each class at random; the first k of each are the k shots.

    Args:
        labels: int `[examples]`.
        num_classes: number of classes.
        seed: of `numpy.random.default_rng`.

    Returns:
        For each class the indices of its examples, in their drawn order.
    """
    generator = np.random.default_rng(seed)
    return [generator.permutation(np.flatnonzero(labels == c)) for c in range(num_classes)]


def take_shots(order: list[np.ndarray], shots: int) -> np.ndarray:
    """Indices of the first `shots` examples of each class; all of a class that has fewer."""
    return np.concatenate([indices[:shots] for indices in order])


@dataclass(frozen=True)
class LeastSquares:
    """Ridge regression to {-1, 1} targets, decomposed once for any strength of the penalty.

    With the standardised shots X `[n, d]` and targets Y `[n, classes]`, the weights are
    (XᵀX + l2·I)⁻¹XᵀY. The eigendecomposition is of XᵀX, or of XXᵀ where n < d.
    """

    mean: np.ndarray
    deviation: np.ndarray
    eigenvalues: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, num_classes: int) -> LeastSquares:
        """Decompose the shots.

        Args:
            features: `[n, width]`.
            labels: int `[n]`.
            num_classes: number of classes.
        """
        features = np.asarray(features, np.float64)
        mean = features.mean(axis=0)
        deviation = features.std(axis=0) + DEVIATION_FLOOR
        x = _standardise(features, mean, deviation)
        y = 2.0 * np.eye(num_classes)[labels] - 1.0
        if len(x) >= x.shape[1]:
            eigenvalues, vectors = np.linalg.eigh(x.T @ x)
            left, right = vectors, vectors.T @ (x.T @ y)
        else:
            eigenvalues, vectors = np.linalg.eigh(x @ x.T)
            left, right = x.T @ vectors, vectors.T @ y
        return cls(mean, deviation, eigenvalues, left, right)

    def weights(self, l2: float) -> np.ndarray:
        """Weights `[width + 1, classes]`; the last row belongs to the constant feature."""
        return (self.left / (self.eigenvalues + l2)) @ self.right

    def predict(self, features: np.ndarray, l2: float) -> np.ndarray:
        """Predicted classes, int `[examples]`, of features `[examples, width]`."""
        weights = self.weights(l2)
        predictions = [
            np.argmax(_standardise(features[i : i + ROWS], self.mean, self.deviation) @ weights, 1)
            for i in range(0, len(features), ROWS)
        ]
        return np.concatenate(predictions)


def _standardise(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    scaled = (np.asarray(features, np.float64) - mean) / deviation
    return np.pad(scaled, ((0, 0), (0, 1)), constant_values=BIAS_FEATURE)
