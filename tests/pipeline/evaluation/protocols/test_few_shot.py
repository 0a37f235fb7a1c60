"""Few-shot least squares against scikit-learn and against the formula."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pipeline.evaluation.features.feature_set import FeatureSet, TaskFeatures
from pipeline.evaluation.protocols.few_shot import (
    PAPER_L2,
    FewShot,
    LeastSquares,
    draw_shots,
    take_shots,
)

CLASSES = 4


def clusters(examples, width, seed, spread=1.5):
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(CLASSES, width))
    labels = generator.integers(0, CLASSES, examples)
    features = centers[labels] + spread * generator.normal(size=(examples, width))
    return FeatureSet(features.astype(np.float32), labels)


def scikit_learn_decisions(train, test, l2):
    mean, deviation = train.features.mean(0, dtype=np.float64), train.features.std(0, dtype=float)

    def prepare(features):
        scaled = (features - mean) / (deviation + 1e-5)
        return np.hstack([scaled, np.full((len(features), 1), 100.0)])

    ridge = Ridge(alpha=l2, fit_intercept=False, solver="cholesky")
    ridge.fit(prepare(train.features), 2.0 * np.eye(CLASSES)[train.labels] - 1.0)
    return ridge.predict(prepare(test.features))


@pytest.mark.parametrize(("examples", "width"), [(40, 7), (40, 39), (40, 41), (8, 300)])
@pytest.mark.parametrize("l2", [1.0, 1024.0])
def test_agrees_with_ridge_of_scikit_learn(examples, width, l2):
    train, test = clusters(examples, width, 1), clusters(200, width, 2)
    fit = LeastSquares.fit(train.features, train.labels, CLASSES)
    expected = scikit_learn_decisions(train, test, l2)
    scaled = (test.features.astype(float) - fit.mean) / fit.deviation
    decisions = np.hstack([scaled, np.full((len(test), 1), 100.0)]) @ fit.weights(l2)
    np.testing.assert_allclose(decisions, expected, atol=1e-6)
    assert np.array_equal(fit.predict(test.features, l2), expected.argmax(1))


def test_a_constant_feature_does_no_harm():
    train = clusters(40, 7, 1)
    features = np.hstack([train.features, np.full((40, 1), 3.0, np.float32)])
    with_constant = LeastSquares.fit(features, train.labels, CLASSES).predict(features, 1024.0)
    without = LeastSquares.fit(train.features, train.labels, CLASSES)
    assert np.array_equal(with_constant, without.predict(train.features, 1024.0))


def test_shots_are_a_prefix_of_one_draw_per_class():
    labels = np.random.default_rng(0).integers(0, CLASSES, 100)
    order = draw_shots(labels, CLASSES, seed=3)
    generator = np.random.default_rng(3)
    for cls in range(CLASSES):
        expected = generator.permutation(np.where(labels == cls)[0])
        assert np.array_equal(order[cls], expected)
    one, five = take_shots(order, 1), take_shots(order, 5)
    assert np.array_equal(np.bincount(labels[five]), [5] * CLASSES)
    assert set(one) <= set(five)


def test_a_class_with_fewer_images_gives_all_it_has():
    labels = np.array([0] * 8 + [1] * 2 + [3] * 8)  # none of class 2
    taken = take_shots(draw_shots(labels, CLASSES, 0), 5)
    assert np.array_equal(np.bincount(labels[taken], minlength=4), [5, 2, 0, 5])


def task(validation=None):
    return TaskFeatures(CLASSES, clusters(150, 9, 1), clusters(300, 9, 2), validation, seed=0)


def test_scores_are_over_seeds_and_grow_with_shots():
    outcome = FewShot(shots=[1, 20], seeds=[0, 1, 2, 3], l2=[1.0]).evaluate(task())
    one, twenty = outcome.scores["1"], outcome.scores["20"]
    assert len(one.accuracies) == 4
    assert one.mean == pytest.approx(np.mean(one.accuracies))
    assert one.std == pytest.approx(np.std(one.accuracies, ddof=1))
    assert twenty.mean > one.mean + 0.1
    assert FewShot(shots=[1], seeds=[2], l2=[1.0]).evaluate(task()).scores["1"].std == 0.0


@pytest.mark.parametrize("validation", [None, clusters(60, 9, 3)])
def test_penalty_is_chosen_on_validation_images_alone(validation):
    config = FewShot(shots=[5], seeds=[0, 1], l2=[1e-3, 1e2, 1e9])
    data = task(validation)
    chosen = config.evaluate(data).scores["5"].chosen["l2"]
    fit, held_out = data.selection()
    means = {}
    for l2 in config.l2:
        single = FewShot(shots=[5], seeds=[0, 1], l2=[l2])
        means[l2] = single.evaluate(TaskFeatures(CLASSES, fit, held_out, None, 0)).scores["5"].mean
    assert means[chosen] == max(means.values())
    assert len(set(means.values())) > 1  # the choice matters


def test_held_out_part_is_disjoint_and_repeats():
    data = task()
    (fit, held_out), (again, _) = data.selection(), data.selection()
    rows = {row.tobytes() for row in fit.features}
    assert len(fit) == 120 and len(held_out) == 30
    assert rows.isdisjoint(row.tobytes() for row in held_out.features)
    assert np.array_equal(fit.features, again.features)
    assert len(data.final()) == 150


def test_the_paper_s_penalty_is_a_row_beside_the_chosen_one_and_alone_the_only_one():
    swept = FewShot(shots=[5], seeds=[0, 1], l2=[1.0, 10.0]).evaluate(task())
    alone = FewShot(shots=[5], seeds=[0, 1], l2=[PAPER_L2]).evaluate(task())
    assert swept.also["paper"] == alone.scores
    assert swept.also["paper"]["5"].chosen == {"l2": 1024.0}
    assert not alone.also


def test_by_default_the_penalty_suits_few_images_better_than_the_paper_s():
    wide = TaskFeatures(CLASSES, clusters(150, 300, 1), clusters(300, 300, 2), None, seed=0)
    outcome = FewShot(shots=[5]).evaluate(wide)
    assert outcome.scores["5"].mean >= outcome.also["paper"]["5"].mean
    assert outcome.predictions.shape == (3, 300)


def test_probabilities_name_the_prediction_and_sum_to_one():
    outcome = FewShot(shots=[10], seeds=[0, 1], l2=[1.0]).evaluate(task())
    assert outcome.probabilities is not None
    np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1.0)
    assert np.mean(outcome.probabilities.argmax(axis=1) == outcome.predictions[0]) > 0.99
