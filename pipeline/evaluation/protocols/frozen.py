"""The frozen protocols: what each learns from features and how it is scored."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from groundwork.progress import Progress
from pipeline.evaluation.features.feature_set import FeatureSet, TaskFeatures
from pipeline.evaluation.protocols.least_squares import LeastSquares, draw_shots, take_shots
from pipeline.evaluation.protocols.protocol_config import (
    FewShotConfig,
    KnnConfig,
    LinearProbeConfig,
)
from pipeline.evaluation.protocols.scores import Hits, Score, accuracy, count_hits, score

Classifier = Callable[[np.ndarray], np.ndarray]
"""Features `[examples, width]` to classes, int `[examples]`."""

SPAN_TOLERANCE = 1e-10
"""Share of the variance that coordinates in the span of few examples may leave out."""


@dataclass(frozen=True)
class Outcome:
    """Scores of one protocol by setting, such as the number of shots."""

    scores: dict[str, Score]
    predictions: np.ndarray
    """Predicted test labels, int `[examples]`, of the last setting and first seed."""
    labels: np.ndarray
    """Of the test examples, int64 `[examples]`."""
    confidences: np.ndarray | None = None
    """Probability of each predicted class, `[examples]`, where the protocol gives one."""


def few_shot(task: TaskFeatures, config: FewShotConfig) -> Outcome:
    """Closed-form least squares on `shots` images of each class; scores by shots."""
    l2 = (
        _choose_l2(task, config)
        if len(config.l2) > 1
        else dict.fromkeys(config.shots, config.l2[0])
    )
    scores, predictions = {}, np.empty(0, np.int64)
    for shots in config.shots:
        fits = (_fit_shots(task.train, task.num_classes, shots, seed) for seed in config.seeds)
        classifiers = (partial(fit.predict, l2=l2[shots]) for fit in fits)
        scores[str(shots)], predictions = _judge(task, classifiers, {"l2": l2[shots]})
    return Outcome(scores, predictions, task.test.labels)


def linear_probe(task: TaskFeatures, config: LinearProbeConfig) -> Outcome:
    """Multinomial logistic regression by L-BFGS on standardised features."""
    from sklearn.pipeline import make_pipeline

    fit, validation = task.selection()
    standardise = _standardiser(fit)
    inputs, held_out = (standardise.transform(part.features) for part in (fit, validation))
    accuracies = {}
    progress = Progress("linear probe", len(config.c) + 1)
    with _unconverged_is_counted():
        path = _regression(config, warm_start=True)  # from the last penalty: fewer iterations
        for c in sorted(config.c):
            predicted = path.set_params(C=c).fit(inputs, fit.labels).predict(held_out)
            accuracies[c] = accuracy(predicted, validation.labels)
            progress.update(len(accuracies), f"c {c:g}: {100 * accuracies[c]:.1f} % on validation")
        c = max(config.c, key=lambda c: (accuracies[c], -c))  # of equals, the strongest penalty
        train = task.final()
        standardise = _standardiser(train)
        final = _regression(config, C=c).fit(standardise.transform(train.features), train.labels)
    progress.update(len(config.c) + 1, f"c {c:g} on all training images")
    progress.close()
    classifier = make_pipeline(standardise, final)
    chosen = {"c": c, "validation": accuracies[c], "iterations": int(final.n_iter_.max())}
    result, predictions = _judge(task, [classifier.predict], chosen)
    confidences = classifier.predict_proba(task.test.features).max(axis=1)
    return Outcome({"linear_probe": result}, predictions, task.test.labels, confidences)


def knn(task: TaskFeatures, config: KnnConfig) -> Outcome:
    """Majority vote of the nearest training images by cosine; scores by k."""
    from sklearn.neighbors import KNeighborsClassifier

    train = task.final()
    scores, predictions = {}, np.empty(0, np.int64)
    for k in config.k:
        classifier = KNeighborsClassifier(min(k, len(train)), metric="cosine", algorithm="brute")
        classifier.fit(train.features, train.labels)
        scores[str(k)], predictions = _judge(task, [classifier.predict])
    return Outcome(scores, predictions, task.test.labels)


def _judge(
    task: TaskFeatures, classifiers: Iterable[Classifier], chosen: Mapping[str, float] | None = None
) -> tuple[Score, np.ndarray]:
    """Score of the classifiers, one per seed, and what the first predicts on the test split."""
    accuracies, predicted = [], []
    hits: dict[str, list[Hits]] = {name: [] for name in task.extra_tests}
    for classify in classifiers:
        predicted.append(classify(task.test.features))
        accuracies.append(accuracy(predicted[-1], task.test.labels))
        for name, test in task.extra_tests.items():
            hits[name].append(count_hits(classify(test.features), test.labels))
    return score(accuracies, chosen or {}, hits), predicted[0]


def _fit_shots(train: FeatureSet, num_classes: int, shots: int, seed: int) -> LeastSquares:
    drawn = train.take(take_shots(draw_shots(train.labels, num_classes, seed), shots))
    return LeastSquares.fit(drawn.features, drawn.labels, num_classes)


def _choose_l2(task: TaskFeatures, config: FewShotConfig) -> dict[int, float]:
    """For each number of shots, the penalty that is best on the validation part."""
    fit, validation = task.selection()
    chosen = {}
    for shots in config.shots:
        fits = [_fit_shots(fit, task.num_classes, shots, seed) for seed in config.seeds]
        means = {
            l2: np.mean(
                [accuracy(f.predict(validation.features, l2), validation.labels) for f in fits]
            )
            for l2 in config.l2
        }
        chosen[shots] = max(config.l2, key=lambda l2: (means[l2], l2))
    return chosen


def _standardiser(train: FeatureSet) -> Any:
    """Standardises features; of few and wide examples it gives coordinates in their own span.

    With an L2 penalty the weights lie in the span of the standardised examples, so that there the
    problem is the same, and smaller.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    examples, width = train.features.shape
    steps: list[Any] = [StandardScaler()]
    if examples <= width:
        steps.append(PCA(n_components=1.0 - SPAN_TOLERANCE, svd_solver="full"))
    return make_pipeline(*steps).fit(np.asarray(train.features, np.float64))


def _regression(config: LinearProbeConfig, **options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=config.max_iterations, **options)


@contextlib.contextmanager
def _unconverged_is_counted() -> Iterator[None]:
    """The report has the iterations; the warning would be several lines for each penalty."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
