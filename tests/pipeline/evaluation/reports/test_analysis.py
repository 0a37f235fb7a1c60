"""Confusion, calibration and worst classes on small cases worked out by hand."""

import numpy as np
import pytest
from sklearn import metrics

from pipeline.evaluation.reports import analysis, html_page


def test_confusion_matrix_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 5, (2, 100))
    expected = metrics.confusion_matrix(labels, predictions, labels=range(6))
    assert np.array_equal(analysis.confusion_matrix(labels, predictions, 6), expected)


def test_worst_classes_come_first_and_absent_ones_not_at_all():
    confusion = np.array([[8, 2, 0, 0], [0, 5, 0, 0], [1, 3, 1, 0], [0, 0, 0, 0]])
    worst = analysis.worst_classes(confusion, ["a", "b", "c", "d"], 10)
    assert [one.name for one in worst] == ["c", "a", "b"]
    assert (worst[0].examples, worst[0].accuracy, worst[0].taken_for) == (5, 0.2, "b")
    assert worst[2].taken_for is None
    assert len(analysis.worst_classes(confusion, list("abcd"), 1)) == 1


def test_expected_calibration_error_by_hand():
    # Two bins: six examples at 0.9, four of them right; four at 0.5, one right.
    confidences = np.array([0.9] * 6 + [0.5] * 4)
    hits = np.array([True] * 4 + [False] * 2 + [True] + [False] * 3)
    found = analysis.calibration(confidences, hits)
    np.testing.assert_allclose(found.share, [0.4, 0.6])
    np.testing.assert_allclose(found.accuracy, [0.25, 4 / 6])
    assert found.expected_error == pytest.approx(0.4 * 0.25 + 0.6 * (0.9 - 4 / 6))
    assert analysis.calibration(np.ones(3), np.ones(3, bool)).expected_error == 0.0


def test_most_confident_mistakes_first():
    labels = np.array([0, 0, 1, 1, 1])
    predictions = np.array([0, 1, 0, 1, 0])
    confidences = np.array([0.99, 0.5, 0.9, 0.8, 0.7])
    errors = analysis.most_instructive_errors
    assert errors(labels, predictions, confidences, 2) == [2, 4]
    assert errors(labels, predictions, None, 2) == [1, 4]
    assert errors(labels, labels, confidences, 2) == []


def test_page_escapes_what_users_name():
    page = html_page.page("<script>", [html_page.table([["a&b"], ["<i>"]])])
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<th>a&amp;b</th>" in page and "<td>&lt;i&gt;</td>" in page
