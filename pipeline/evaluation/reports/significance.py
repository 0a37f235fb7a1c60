"""Confidence intervals of accuracies, and tests of differences on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.evaluation.protocols.scores import ExtraScore, Score

LEVEL = 0.95
SIGNIFICANT = 1 - LEVEL

Predictions = NDArray[np.integer]


@dataclass(frozen=True)
class Difference:
    """How much more often one classifier is right than another on the same images."""

    mean: float
    """Difference of the accuracies, over the seeds."""
    half_width: float
    """Half of its 95 % interval."""
    p_value: float
    """That neither is right on more images than the other, exactly."""
    seeds: int
    """That were taken of each."""

    @property
    def is_significant(self) -> bool:
        """Whether neither the choice of the images nor that of the seeds explains it.

        The test is over the images alone: of few seeds that differ much the interval says more.
        """
        return self.p_value < SIGNIFICANT and abs(self.mean) > self.half_width


def interval(score: Score | ExtraScore, test_examples: int | None) -> tuple[float, float]:
    """95 % confidence interval of a score's mean.

    It covers both which test images there happen to be (Wilson's interval of the binomial, which is
    right for accuracies near 1, too) and what the seeds draw (Student's t); on each side the two
    widths add as squares.

    Args:
        score: of one setting.
        test_examples: number of test images; None: the score is no accuracy, and the interval
            covers the seeds alone.
    """
    mean, runs = score.mean, len(score.accuracies)
    if test_examples is None:
        width = _t_half_width(score.std, runs)
        return max(0.0, mean - width), min(1.0, mean + width)
    drawn = stats.binomtest(round(mean * test_examples), test_examples)
    sampling = drawn.proportion_ci(LEVEL, method="wilson")
    seeds = _t_half_width(score.std, runs)
    low = mean - math.hypot(max(0.0, mean - sampling.low), seeds)
    high = mean + math.hypot(max(0.0, sampling.high - mean), seeds)
    return max(0.0, low), min(1.0, high)


def paired_difference(labels: Predictions, first: Predictions, second: Predictions) -> Difference:
    """How much more often `second` is right than `first`.

    The interval is over the images (normal approximation, paired) and the seeds (Student's t,
    paired); the test is the exact sign test over the images, by how many seeds are right on each,
    which with one seed is McNemar's.

    Args:
        labels: int `[examples]`.
        first: predictions, int `[seeds, examples]`.
        second: likewise; of more seeds than the other the first are taken.
    """
    seeds = min(len(first), len(second))
    gains = (second[:seeds] == labels).astype(int) - (first[:seeds] == labels)
    by_image, by_seed = gains.sum(axis=0), gains.mean(axis=1)
    sampling = 0.0
    if len(labels) > 1:
        error = float((by_image / seeds).std(ddof=1)) / math.sqrt(len(labels))
        sampling = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    spread = _t_half_width(float(by_seed.std(ddof=1)), seeds) if seeds > 1 else 0.0
    better, worse = int((by_image > 0).sum()), int((by_image < 0).sum())
    p_value = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    return Difference(float(gains.mean()), math.hypot(sampling, spread), float(p_value), seeds)


def shown_p(p_value: float) -> str:
    """Such as "p = 0.013" or "p < 0.0001"."""
    return "p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.2g}"


def _t_half_width(deviation: float, runs: int) -> float:
    if runs < 2:
        return 0.0
    return float(stats.t.ppf((1 + LEVEL) / 2, runs - 1)) * deviation / math.sqrt(runs)
