"""Linear probe and nearest neighbors against scikit-learn on the same features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from test_few_shot import CLASSES, clusters

from pipeline.evaluation.features.feature_set import TaskFeatures
from pipeline.evaluation.protocols.knn import NearestNeighbors
from pipeline.evaluation.protocols.linear_probe import LinearProbe

VALIDATION = clusters(60, 9, 3)
VALIDATION_WIDE = clusters(20, 90, 3)


@pytest.fixture(params=[None, VALIDATION], ids=["held-out", "validation-split"])
def task(request):
    return TaskFeatures(CLASSES, clusters(200, 9, 1), clusters(300, 9, 2), request.param, seed=0)


def test_linear_probe_is_the_best_on_validation_refitted_on_everything(task):
    config = LinearProbe(c=[1e-4, 1e-1, 1e2])

    def fit(train, c):
        mean, deviation = train.features.mean(0), train.features.std(0)
        regression = LogisticRegression(C=c, max_iter=1000)
        regression.fit((train.features - mean) / deviation, train.labels)
        return lambda test: regression.predict((test.features - mean) / deviation)

    part, validation = task.selection()
    accuracies = {c: np.mean(fit(part, c)(validation) == validation.labels) for c in config.c}
    outcome = config.evaluate(task)
    score = outcome.scores["linear_probe"]
    assert score.chosen["c"] == max(accuracies, key=lambda c: (accuracies[c], -c))
    assert score.chosen["validation accuracy"] == pytest.approx(max(accuracies.values()))
    expected = fit(task.final(), score.chosen["c"])(task.test)
    assert np.mean(outcome.predictions[0] == expected) > 0.995  # last bits of the standardization
    assert score.mean == pytest.approx(np.mean(outcome.predictions[0] == task.test.labels))


def test_a_linear_probe_that_is_cut_short_says_so_without_a_warning(task, recwarn):
    config = LinearProbe(c=[1e2], max_iterations=3)
    outcome = config.evaluate(task)
    assert outcome.scores["linear_probe"].chosen["iterations"] == 3
    assert outcome.notes[0].startswith("not converged after 3 iterations")
    assert not [warning for warning in recwarn if "converge" in str(warning.message)]


def test_linear_probe_in_the_span_of_few_wide_examples_is_the_same_problem():
    config = LinearProbe(c=[0.01])
    wide = TaskFeatures(CLASSES, clusters(40, 90, 1), clusters(300, 90, 2), VALIDATION_WIDE, 0)
    final = wide.final()
    mean, deviation = final.features.mean(0), final.features.std(0)
    regression = LogisticRegression(C=0.01, max_iter=1000, tol=1e-8)
    regression.fit((final.features - mean) / deviation, final.labels)
    expected = regression.predict_proba((wide.test.features - mean) / deviation)
    outcome = config.evaluate(wide)
    assert np.array_equal(outcome.predictions[0], expected.argmax(axis=1))
    assert outcome.probabilities is not None
    np.testing.assert_allclose(outcome.probabilities, expected, atol=1e-3)


def test_knn_is_the_majority_of_the_nearest_by_cosine(task):
    train = task.final()
    unit = train.features / np.linalg.norm(train.features, axis=1, keepdims=True)
    test = task.test.features / np.linalg.norm(task.test.features, axis=1, keepdims=True)
    nearest = np.argsort(-(test @ unit.T), axis=1, kind="stable")
    outcome = NearestNeighbors(k=[1, 7]).evaluate(task)
    for k in (1, 7):
        votes = np.stack(
            [np.bincount(row, minlength=CLASSES) for row in train.labels[nearest[:, :k]]]
        )
        expected = np.mean(votes.argmax(axis=1) == task.test.labels)
        assert outcome.scores[str(k)].mean == pytest.approx(expected)
    assert np.array_equal(outcome.predictions[0], votes.argmax(axis=1))


def test_knn_with_fewer_images_than_neighbors(task):
    outcome = NearestNeighbors(k=[10_000]).evaluate(task)
    most_common = np.bincount(task.final().labels).argmax()
    assert np.all(outcome.predictions[0] == most_common)


def test_knn_probabilities_are_shares_of_votes_and_an_absent_class_gets_none():
    train = clusters(200, 9, 1)
    task = TaskFeatures(CLASSES + 1, train, clusters(30, 9, 2), None, seed=0)
    outcome = NearestNeighbors(k=[5]).evaluate(task)
    assert outcome.probabilities is not None
    assert outcome.probabilities.shape == (30, CLASSES + 1)
    assert set(np.unique(outcome.probabilities * 5).round()) <= set(range(6))
    assert np.all(outcome.probabilities[:, CLASSES] == 0)
