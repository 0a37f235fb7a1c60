"""Linear probe: multinomial logistic regression by L-BFGS on all standardized features."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from groundwork.progress import Progress
from pipeline.evaluation.features.feature_set import FeatureSet, TaskFeatures
from pipeline.evaluation.protocols.checks import check_positive
from pipeline.evaluation.protocols.protocol import Outcome, judge
from pipeline.evaluation.protocols.scores import accuracy

if TYPE_CHECKING:  # scikit-learn is imported late, so that --help is quick
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import Pipeline

SPAN_TOLERANCE = 1e-10
"""Share of the variance that coordinates in the span of few examples may leave out."""


@dataclass
class LinearProbe:
    """Logistic regression on frozen features."""

    HEADING: ClassVar[str] = "Linear probe on all training images"
    SETTING: ClassVar[str] = ""
    MULTI_LABEL: ClassVar[bool] = True

    c: list[float] = field(default_factory=lambda: [10.0**power for power in range(-5, 2)])
    """Inverse strength of the L2 penalty, as in scikit-learn; the best on the validation part is
    taken."""
    max_iterations: int = 1000
    """Largest number of L-BFGS iterations."""

    def check(self) -> None:
        """Raise a UserError where the options cannot be."""
        check_positive("linear_probe.c", self.c)
        check_positive("linear_probe.max_iterations", [self.max_iterations])

    def evaluate(self, task: TaskFeatures) -> Outcome:
        """One score: of the penalty that is best on the validation part.

        Where an image has any number of labels, a regression of its own for each class.
        """
        from sklearn.pipeline import make_pipeline

        fit, validation = task.selection()
        standardize = standardizer(fit)
        inputs, held_out = (standardize.transform(part.features) for part in (fit, validation))
        accuracies: dict[float, float] = {}
        progress = Progress("linear probe", len(self.c) + 1)
        with _unconverged_is_counted():
            path = self.regression()
            path.set_params(warm_start=True)  # from the last penalty: fewer iterations
            for c in sorted(self.c):
                path.set_params(C=c)
                fitted = _fitted(path, inputs, fit.labels)
                accuracies[c] = accuracy(_answers(fitted, held_out, fit.labels), validation.labels)
                share = 100 * accuracies[c]
                progress.update(len(accuracies), f"c {c:g}: {share:.1f} % on validation")
            c = max(self.c, key=lambda c: (accuracies[c], -c))  # of equals, the strongest penalty
            train = task.final()
            standardize = standardizer(train)
            final = _fitted(
                self.regression().set_params(C=c),
                standardize.transform(train.features),
                train.labels,
            )
        progress.update(len(self.c) + 1, f"c {c:g} on all training images")
        progress.close()
        classifier = make_pipeline(standardize, final)
        fits = final.estimators_ if task.multi_label else [final]
        # a class that all images have, or none, needs no regression
        iterations = max(int(np.max(getattr(one, "n_iter_", 0))) for one in fits)
        score_name = "mean average precision" if task.multi_label else "accuracy"
        chosen = {"c": c, f"validation {score_name}": accuracies[c], "iterations": iterations}
        answer = partial(_answers, classifier, labels=task.train.labels)
        result, predictions = judge(task, [answer], chosen)
        if task.multi_label:
            return Outcome(
                {"linear_probe": result},
                predictions,
                task.test.labels,
                notes=self._unconverged(iterations),
            )
        probabilities = np.zeros((len(task.test), task.num_classes))
        probabilities[:, final.classes_] = classifier.predict_proba(task.test.features)
        return Outcome(
            {"linear_probe": result},
            predictions,
            task.test.labels,
            probabilities,
            notes=self._unconverged(iterations),
        )

    def regression(self) -> LogisticRegression:
        """The classifier, not fitted yet."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=self.max_iterations)

    def _unconverged(self, iterations: int) -> tuple[str, ...]:
        if iterations < self.max_iterations:
            return ()
        return (
            f"not converged after {iterations:,} iterations, --linear_probe.max_iterations allows "
            "more",
        )


def _fitted(
    regression: LogisticRegression, inputs: NDArray[Any], labels: NDArray[Any]
) -> LogisticRegression | OneVsRestClassifier:
    """The regression fitted; to labels `[examples, classes]` one for each class."""
    from sklearn.multiclass import OneVsRestClassifier

    return (OneVsRestClassifier(regression) if labels.ndim == 2 else regression).fit(inputs, labels)


def _answers(
    fitted: LogisticRegression | OneVsRestClassifier | Pipeline,
    inputs: NDArray[Any],
    labels: NDArray[Any],
) -> NDArray[Any]:
    """Classes, int `[examples]`; of a fit to labels `[examples, classes]` their probabilities."""
    answers: NDArray[Any]
    answers = fitted.predict_proba(inputs) if labels.ndim == 2 else fitted.predict(inputs)
    return answers


def standardizer(train: FeatureSet) -> Pipeline:
    """Standardizes features; of few and wide examples it gives coordinates in their own span.

    With an L2 penalty the weights lie in the span of the standardized examples, so that there the
    problem is the same, and smaller.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    examples, width = train.features.shape
    steps = [StandardScaler()]
    if examples <= width:
        steps.append(PCA(n_components=1.0 - SPAN_TOLERANCE, svd_solver="full"))
    return make_pipeline(*steps).fit(np.asarray(train.features, np.float64))


@contextlib.contextmanager
def _unconverged_is_counted() -> Iterator[None]:
    """The report has the iterations; the warning would be several lines for each penalty."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
