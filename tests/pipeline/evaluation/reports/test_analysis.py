"""Confusion, calibration and worst classes on small cases worked out by hand."""

import numpy as np
import pytest
from sklearn import metrics

from pipeline.evaluation.reports import analysis


def test_confusion_matrix_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 5, (2, 100))
    expected = metrics.confusion_matrix(labels, predictions, labels=range(6))
    assert np.array_equal(analysis.confusion_matrix(labels, predictions, 6), expected)


def test_precision_recall_and_f1_are_those_of_scikit_learn_worst_recall_first():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 5, (2, 60))
    confusion = analysis.confusion_matrix(labels, predictions, 5)
    found = analysis.class_results(confusion, list("abcde"))
    expected = metrics.precision_recall_fscore_support(labels, predictions)
    for one in found:
        values = [column["abcde".index(one.name)] for column in expected]
        assert [one.precision, one.recall, one.f1, one.examples] == pytest.approx(values)
    recalls = [one.recall for one in found]
    assert recalls == sorted(recalls)
    macro = analysis.macro_mean([one.f1 for one in found])
    assert macro == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))


def test_classes_without_images_or_predictions():
    confusion = np.array([[8, 2, 0, 0], [0, 5, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0]])
    found = {one.name: one for one in analysis.class_results(confusion, list("abcd"))}
    assert list(found) == ["c", "a", "b", "d"]
    assert (found["c"].precision, found["c"].recall, found["c"].taken_for) == (None, 0.0, "b")
    assert found["b"].taken_for is None
    assert (found["d"].examples, found["d"].recall, found["d"].f1) == (0, None, None)


def test_expected_calibration_error_by_hand():
    # Two bins: six examples at 0.9, four of them right; four at 0.5, one right.
    confidences = np.array([0.9] * 6 + [0.5] * 4)
    hits = np.array([True] * 4 + [False] * 2 + [True] + [False] * 3)
    found = analysis.calibration(confidences, hits)
    np.testing.assert_allclose(found.share, [0.4, 0.6])
    np.testing.assert_allclose(found.accuracy, [0.25, 4 / 6])
    assert found.expected_error == pytest.approx(0.4 * 0.25 + 0.6 * (0.9 - 4 / 6))
    assert analysis.calibration(np.ones(3), np.ones(3, bool)).expected_error == 0.0


def test_mistakes_are_of_every_class_alike_the_most_confident_first():
    labels = np.array([0, 0, 1, 1, 1])
    predictions = np.array([0, 1, 0, 1, 0])
    confidences = np.array([0.99, 0.5, 0.9, 0.8, 0.7])
    errors = analysis.most_instructive_errors
    assert errors(labels, predictions, confidences, 3) == [2, 1, 4]
    assert errors(labels, predictions, None, 2) == [1, 2]
    assert errors(labels, labels, confidences, 2) == []
