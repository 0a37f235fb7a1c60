"""MixUp and CutMix: the formula, the distribution, pairs that no split parts."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from trained_steps import train

from groundwork.errors import UserError
from pipeline.data.batches.distributed_batches import check_divisible
from pipeline.data.batches.mixing_draw import draw_mixing
from pipeline.data.batches.train_batches import train_batches
from pipeline.data.batches.train_order import EpochOrder
from pipeline.data.data_config import DataConfig
from pipeline.data.dataset.source import open_source
from pipeline.devices.strategy import mirrored_strategy
from pipeline.recipe.check_run_config import check_run_config
from pipeline.training.objectives.classification import Classification, cross_entropy
from pipeline.training.objectives.mixing import mix_images, swap_pairs
from pipeline.training.objectives.objective_options import ObjectiveOptions

SIZE = (24, 32)


def draws(count, mixup_alpha, cutmix_alpha):
    draw = tf.function(lambda step: draw_mixing(3, step, SIZE, mixup_alpha, cutmix_alpha))
    steps = tf.range(count, dtype=tf.int64)
    return [tuple(value.numpy() for value in draw(step)) for step in steps]


def test_mixup_keeps_the_larger_share_of_a_beta_variable():
    found = draws(300, 0.5, 0.0)
    shares = np.array([share for _, share in found])
    assert all((keep == share).all() for keep, share in found)
    drawn = np.random.default_rng(0).beta(0.5, 0.5, 100_000)
    expected = np.quantile(np.maximum(drawn, 1 - drawn), [0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(np.quantile(shares, [0.1, 0.3, 0.5, 0.7, 0.9]), expected, atol=0.06)


def test_cutmix_pastes_one_box_and_counts_its_area():
    shares = []
    for keep, share in draws(200, 0.0, 1.0):
        assert set(np.unique(keep)) <= {0.0, 1.0}
        assert share == pytest.approx(keep.mean())
        rows, columns = (~keep[..., 0].astype(bool)).any(1), (~keep[..., 0].astype(bool)).any(0)
        assert (1 - keep[..., 0]).sum() == rows.sum() * columns.sum()
        shares.append(share)
    assert 0.45 < min(shares) < 0.6 and max(shares) > 0.95


def test_with_both_each_step_does_one():
    kinds = [len(np.unique(keep)) > 1 for keep, share in draws(100, 0.8, 1.0) if share < 0.95]
    assert 0.2 < np.mean(kinds) < 0.8


def test_tiny_alpha_gives_numbers():
    assert all(0.5 <= share <= 1 for _, share in draws(50, 1e-3, 0.0))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_loss_is_that_of_the_mixed_targets(kind, smoothing):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(6, 5)).astype(np.float32)
    labels = tf.constant(generator.integers(0, 5, 6))
    own, other = (
        cross_entropy(logits, each, kind, smoothing) for each in (labels, swap_pairs(labels))
    )
    partner = labels.numpy()[[1, 0, 3, 2, 5, 4]]
    targets = 0.7 * np.eye(5)[labels.numpy()] + 0.3 * np.eye(5)[partner]
    targets = targets * (1 - smoothing) + smoothing / 5
    if kind == "softmax":
        expected = -(targets * tf.nn.log_softmax(logits).numpy()).sum(-1)
    else:
        log_p, log_not_p = (np.log(1 / (1 + np.exp(-sign * logits))) for sign in (1, -1))
        expected = -(targets * log_p + (1 - targets) * log_not_p).sum(-1)
    np.testing.assert_allclose(0.7 * own + 0.3 * other, expected, rtol=1e-5)


@pytest.mark.parametrize("share", [0.7, 1.0])
def test_whole_labels_give_the_binary_cross_entropy_of_deit(share):
    """PyTorch's, every label that has a share being a target of 1; theirs is the classes' mean."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(6, 5)).astype(np.float32)
    labels = np.array([0, 1, 2, 2, 4, 3])
    objective = Classification(ObjectiveOptions(loss="sigmoid", mixed_labels="whole"), 5, None)
    mixing = (tf.fill([*SIZE, 1], share), tf.constant(share))
    found, _ = objective.training_scores(
        lambda images, training, seeds: tf.constant(logits),
        tf.zeros([6, *SIZE, 3]),
        tf.constant(labels),
        tf.range(6),
        *mixing,
    )
    targets = share * np.eye(5)[labels] + (1 - share) * np.eye(5)[labels[[1, 0, 3, 2, 5, 4]]]
    reference = torch.nn.BCEWithLogitsLoss(reduction="none")
    losses = reference(torch.tensor(logits), torch.tensor(targets).gt(0.0).float())
    np.testing.assert_allclose(found, 5 * losses.mean(-1).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "mixed_labels=whole goes with loss=sigmoid, not with loss=softmax"),
        ({"loss": "sigmoid"}, "needs data.mixup_alpha or data.cutmix_alpha"),
        ({"loss": "sigmoid", "class_weights": "auto"}, "does not go with class_weights"),
        ({"objective": "masked_patches"}, "masked_patches does not go with mixed_labels=whole"),
    ],
)
def test_whole_labels_without_their_loss_are_refused(config, change, fields, message):
    with pytest.raises(UserError, match=message):
        check_run_config(change(config, mixed_labels="whole", **fields))


def test_images_mix_with_their_neighbor():
    images = np.random.default_rng(0).normal(size=(4, *SIZE, 3)).astype(np.float32)
    mixed = mix_images(tf.constant(images), tf.fill([*SIZE, 1], 0.6))
    np.testing.assert_allclose(mixed, 0.6 * images + 0.4 * images[[1, 0, 3, 2]], atol=1e-6)


def test_pairs_are_the_same_for_one_and_two_hosts(config, change):
    """Neighbors by record, read as one host and as two."""
    config = change(config, data__mixup_alpha=0.2, data__crop="resize", data__flip=False)
    split = open_source(config.data.source).split("train")
    order = EpochOrder(split.files, config.batch_size, 32, config.seed)

    def pairs(num_hosts, start_step):
        found = set()
        for host in range(num_hosts):
            size = config.batch_size // num_hosts
            options = {"start_step": start_step, "replica_batch_size": size}
            batches = train_batches(
                order, split, config.data, host=host, num_hosts=num_hosts, **options
            )
            _, _, seeds, *_ = next(batches.as_numpy_iterator())
            found |= {frozenset(pair) for pair in seeds.reshape(-1, 2).tolist()}
        return found

    for step in (0, 3):
        assert len(pairs(1, step)) == 8
        assert pairs(2, step) == pairs(1, step)


def test_steps_mix_and_differ(config, change):
    plain = train(config, mirrored_strategy(1))
    mixed = train(change(config, data__mixup_alpha=0.8), mirrored_strategy(1))
    assert mixed[1][0]["loss"] != pytest.approx(plain[1][0]["loss"], rel=1e-3)
    assert mixed[1][0]["learning_rate"] == plain[1][0]["learning_rate"]


def test_odd_parts_are_refused(config, change):
    config = change(config, data__mixup_alpha=0.8)
    with pytest.raises(UserError, match="choose a multiple of 16"):
        check_divisible(change(config, batch_size=24, accumulate=8), replicas=1, mixes_images=True)


def test_preset_and_explicit_values():
    assert not DataConfig(source="x").mixes_images
    config = DataConfig(source="x", augment_preset="medium2", randaugment_magnitude=7)
    chosen = config.augmentation
    assert (chosen.randaugment_layers, chosen.randaugment_magnitude) == (2, 7)
    assert chosen.mixup_alpha == 0.5 and config.mixes_images
    assert not DataConfig(source="x", augment_preset="strong2", mixup_alpha=0.0).mixes_images
    assert DataConfig(source="x", cutmix_alpha=1.0).mixes_images
