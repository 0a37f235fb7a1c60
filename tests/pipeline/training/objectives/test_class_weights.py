"""Class weights: counted once, and a weighted loss."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.data.dataset import class_counts
from pipeline.data.dataset.class_counts import (
    balancing_weights,
    cached_class_counts,
    count_classes,
    named_weights,
)
from pipeline.data.dataset.source import open_source
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.run_stages import run
from pipeline.training.objectives.objective import make_objective


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Split train: 6, 3 and 1 images of 3 classes of 4; test: without labels."""
    image = encode(np.zeros((4, 4, 3), np.uint8))
    labels = [0] * 6 + [1] * 3 + [2]
    splits = {
        "train": [(image, label, f"{i}") for i, label in enumerate(labels)],
        "test": [(image, -1, "0")],
    }
    return open_source(
        str(write_dataset_folder(tmp_path_factory.mktemp("uneven") / "d", splits, "abcd"))
    )


def test_classes_are_counted(uneven):
    assert count_classes(uneven.split("train"), 4) == [6, 3, 1, 0]
    assert sum(count_classes(uneven.split("train[:70%]"), 4)) == 7


def test_a_split_without_labels_is_named(uneven):
    with pytest.raises(UserError, match="split test has examples without a label below 4"):
        count_classes(uneven.split("test"), 4)


def test_weights_are_inverse_to_the_counts_and_1_on_average():
    weights = balancing_weights([6, 3, 1, 0])
    assert weights == pytest.approx([10 / 18, 10 / 9, 10 / 3, 0])
    assert np.average(weights, weights=[6, 3, 1, 0]) == pytest.approx(1)
    assert balancing_weights([5, 5]) == [1, 1]


def test_weights_by_name_are_1_for_the_others(config, change):
    options = ["--class_weights", "{b: 2, d: 0.5}", "--workdir", "w", "--data.source", "s"]
    given = command_line.parse(PretrainConfig, [*options, "--steps", "1"], prog="pretrain")
    assert named_weights(given.class_weights, "abcd") == [1, 2, 1, 0.5]
    with pytest.raises(UserError, match="no class of the dataset is called trees; the nearest is"):
        named_weights({"trees": 2.0}, ("tree", "bird"))
    with pytest.raises(UserError, match="class_weights: b has -1: it must not be negative"):
        check_run_config(change(config, class_weights={"b": -1.0}))
    run_with = change(config, class_weights={"disk": 2.0})
    with pytest.raises(UserError, match="called disk; the nearest is disc"):
        run(run_with)


def test_counts_are_kept_for_their_split(uneven, tmp_path, monkeypatch):
    path = str(tmp_path / "counts.json")
    whole, part = uneven.split("train"), uneven.split("train[:50%]")
    assert cached_class_counts(whole, 4, path, write=False) == [6, 3, 1, 0]
    assert not tf.io.gfile.exists(path)
    cached_class_counts(whole, 4, path, write=True)
    with monkeypatch.context() as patch:
        patch.setattr(class_counts, "count_classes", lambda *_: pytest.fail("counted again"))
        assert cached_class_counts(whole, 4, path, write=True) == [6, 3, 1, 0]
    assert sum(cached_class_counts(part, 4, path, write=True)) == 5
    assert json.loads((tmp_path / "counts.json").read_text())["split"] == part.fingerprint


class GivenLogits:
    """A model whose images are its logits."""

    num_classes = 3

    def __call__(self, images, training=None, seeds=None):
        return images


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_training_loss_is_weighted_and_the_evaluation_is_not(config, change, loss):
    config = change(config, loss=loss)
    model = GivenLogits()
    logits = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)
    labels, seeds = tf.constant([0, 1, 2, 0]), tf.range(4)
    plain = make_objective(config, model)
    weighted = make_objective(config, model, [0.5, 1.0, 2.0])
    expected, _ = plain.training_scores(model, logits, labels, seeds)
    found, _ = weighted.training_scores(model, logits, labels, seeds)
    np.testing.assert_allclose(found, expected * np.array([0.5, 1.0, 2.0, 0.5]), rtol=1e-6)
    evaluated, *_ = weighted.evaluation_scores(model, logits, labels)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-6)
    keep, share = tf.ones([1, 1]), tf.constant(0.75)
    mixed, _ = weighted.training_scores(model, logits, labels, seeds, keep, share)
    swapped, _ = weighted.training_scores(model, logits, tf.constant([1, 0, 0, 2]), seeds)
    np.testing.assert_allclose(mixed, 0.75 * found + 0.25 * swapped, rtol=1e-6)
