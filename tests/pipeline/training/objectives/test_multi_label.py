"""Any number of labels to an image: the loss, and how well each class is found."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score, f1_score

from groundwork.errors import UserError
from pipeline.data.dataset.class_counts import count_classes
from pipeline.data.dataset.source import open_source
from pipeline.data.dataset.split import read_records
from pipeline.training.objectives.class_scores import class_scores
from pipeline.training.objectives.objective import make_objective

RNG = np.random.default_rng(0)
LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]], bool)
LOGITS = RNG.normal(size=(4, 3)).astype(np.float32)


class GivenLogits:
    """A model whose images are its logits."""

    num_classes = 3

    def __call__(self, images, training=None, seeds=None):
        return images


def losses(labels=LABELS, logits=LOGITS):
    """Of each class, as the definition of the cross-entropy has it."""
    probabilities = 1 / (1 + np.exp(-np.float64(logits)))
    return -np.log(np.where(labels, probabilities, 1 - probabilities))


def training_losses(options, *mixing, weights=None, labels=LABELS):
    objective = make_objective(options, GivenLogits(), weights)
    return objective.training_scores(GivenLogits(), LOGITS, labels, tf.range(4), *mixing)


def test_the_loss_is_that_of_a_sigmoid_for_each_class(config, change):
    config = change(config, objective="multi_label")
    found, hits = training_losses(config)
    np.testing.assert_allclose(found, losses().sum(axis=1), rtol=1e-5)
    weights = [0.5, 1.0, 2.0]
    weighted, _ = training_losses(config, weights=weights)
    np.testing.assert_allclose(weighted, losses() @ weights, rtol=1e-5)
    objective = make_objective(config, GivenLogits(), weights)
    evaluated, _, logits = objective.evaluation_scores(GivenLogits(), LOGITS, LABELS)
    np.testing.assert_allclose(evaluated, found, rtol=1e-5)
    np.testing.assert_array_equal(logits, LOGITS)
    f1 = objective.accuracies(tf.reduce_sum(hits, axis=0), 4)["f1"]
    assert float(f1) == pytest.approx(f1_score(LABELS, LOGITS >= 0, average="micro"))


def test_mixed_images_count_with_the_labels_of_both(config, change):
    config = change(config, objective="multi_label", label_smoothing=0.3)
    keep, share = tf.ones([1, 1]), tf.constant(0.75)
    found, _ = training_losses(config, keep, share)
    targets = 0.7 * (0.75 * LABELS + 0.25 * LABELS[[1, 0, 3, 2]]) + 0.3 / 3
    expected = targets * losses(np.True_) + (1 - targets) * losses(np.False_)
    np.testing.assert_allclose(found, expected.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("steps", [4, 1000], ids=["ties", "hardly any ties"])
def test_average_precision_is_that_of_scikit_learn(steps):
    labels = RNG.random((200, 5)) < [0.5, 0.1, 0.01, 0.9, 0.0]
    labels[7, 2] = True
    scores = np.round(RNG.normal(labels * 0.7, 1.0) * steps) / steps
    found = class_scores(scores.astype(np.float32), labels)
    np.testing.assert_array_equal(found.images, labels.sum(axis=0))
    for name in range(4):
        own, wanted = scores[:, name], labels[:, name]
        expected = average_precision_score(wanted, own)
        assert found.average_precision[name] == pytest.approx(expected, abs=1e-9)
        f1 = [f1_score(wanted, own >= threshold) for threshold in np.unique(own)]
        assert found.f1[name] == pytest.approx(max(f1))
        assert f1_score(wanted, own >= found.threshold[name]) == pytest.approx(max(f1))
    assert np.isnan([found.average_precision[4], found.f1[4], found.threshold[4]]).all()
    assert found.means()["mean_average_precision"] == pytest.approx(
        found.average_precision[:4].mean()
    )
    row = found.rows("abcde")[4]
    missing = {"average_precision": None, "f1": None, "threshold": None}
    assert row == {"name": "e", "images": 0} | missing


def test_labels_are_read_counted_and_checked(tags_folder):
    source = open_source(str(tags_folder), multi_label=True)
    assert source.multi_label and sorted(source.class_names) == ["blue", "green", "red"]
    split = source.split("validation")
    labels = np.array([split.parse(record)[1] for record in read_records(split.files)])
    assert labels.dtype == bool and labels.shape == (32, 3) and not labels.any(axis=1).all()
    assert count_classes(split, 3) == labels.sum(axis=0).tolist()
    record = next(iter(read_records(split.files)))
    two = type(split)(**{**vars(split), "labels_below": 0})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"none of the 0 classes.*tfrecord"):
        for index, record in enumerate(read_records(split.files)):
            two.check_label(two.parse(record)[1], record, tf.constant(index, tf.int64))


def test_datasets_and_objectives_that_differ_are_named(tags_folder, shapes_folder):
    with pytest.raises(UserError, match=r"any number of labels, .* --objective multi_label"):
        open_source(str(tags_folder))
    with pytest.raises(UserError, match="has one label: leave out --objective multi_label"):
        open_source(str(shapes_folder), multi_label=True)
