"""Options of the protocols on frozen features. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class FewShotConfig:
    """Closed-form least squares on k images of each class (section 4.1 of the ViT paper)."""

    shots: list[int] = field(default_factory=lambda: [1, 5, 10, 25])
    """Images of each class to learn from."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Draws of the images; mean and deviation are over these."""
    l2: list[float] = field(default_factory=lambda: [1024.0])
    """Strength of the ridge penalty; of several, each number of shots takes the best on the
    validation part."""


@dataclass
class LinearProbeConfig:
    """Logistic regression on frozen features."""

    c: list[float] = field(default_factory=lambda: [10.0**power for power in range(-5, 2)])
    """Inverse strength of the L2 penalty, as in scikit-learn; the best on the validation part is
    taken."""
    max_iterations: int = 1000
    """Largest number of L-BFGS iterations."""


@dataclass
class KnnConfig:
    """Nearest neighbours of frozen features, by cosine."""

    k: list[int] = field(default_factory=lambda: [1, 5, 20])
    """Numbers of neighbours that vote; each is reported, none is chosen."""
