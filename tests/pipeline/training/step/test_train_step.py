"""The weights after some steps do not depend on replicas, microbatches or compilation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from trained_steps import assert_same, train

from pipeline.devices.strategy import mirrored_strategy


@pytest.fixture
def config(config, change):
    """One block: the tests spend their time on tracing."""
    return change(config, model__num_layers=1)


def test_weights_for_any_number_of_labels_are_the_same_too(config, change, tags_folder):
    config = change(
        config,
        data__source=str(tags_folder),
        data__mixup_alpha=0.2,
        objective="multi_label",
        label_smoothing=0.1,
    )
    one = train(config, mirrored_strategy(1))
    assert_same(train(change(config, accumulate=2), mirrored_strategy(2)), one, 1e-5)


@pytest.mark.parametrize(
    ("replicas", "fields"),
    [
        pytest.param(4, {"optim__clip_norm": None}, marks=pytest.mark.long),
        (2, {"optim__clip_norm": 0.05}),
        (2, {"accumulate": 2, "optim__clip_norm": 0.05}),
        (2, {"ema_decay": 0.9}),
        (4, {"model__dropout_rate": 0.3, "optim__clip_norm": 0.05}),
        (2, {"loss": "sigmoid", "label_smoothing": 0.1}),
        pytest.param(
            4,
            {"accumulate": 2, "data__augment_preset": "medium2", "data__cutmix_alpha": 1.0},
            marks=pytest.mark.long,
        ),
    ],
    ids=["plain", "clipped", "accumulated", "ema", "dropout", "sigmoid", "augmented"],
)
def test_weights_are_the_same_on_one_and_several_replicas(config, change, replicas, fields):
    config = change(config, **fields)
    one = train(change(config, accumulate=1), mirrored_strategy(1))
    assert_same(train(config, mirrored_strategy(replicas)), one, 1e-5)


def test_bfloat16_replicas_agree_within_its_precision(config):
    weights, rows = train(config, mirrored_strategy(1), policy="mixed_bfloat16")
    found, found_rows = train(config, mirrored_strategy(2), policy="mixed_bfloat16")
    # Rounding may turn the answer on an image or two whose classes are nearly tied.
    accuracies = [[row.pop("accuracy") for row in each] for each in (found_rows, rows)]
    np.testing.assert_allclose(*accuracies, atol=2 / config.batch_size)
    assert_same((found, found_rows), (weights, rows), 5e-3, 3e-2)


def test_clipping_bounds_the_update_of_the_global_batch(config, change):
    """With SGD-like moments off, a clipped run moves less; the norm is reported unclipped."""
    free = train(change(config, optim__clip_norm=None), mirrored_strategy(2))
    clipped = train(
        change(config, optim__clip_norm=1e-9, optim__weight_decay=0.0), mirrored_strategy(2)
    )
    assert clipped[1][0]["gradient_norm"] == pytest.approx(free[1][0]["gradient_norm"])
    start = train(change(config, optim__peak_lr=0.0), mirrored_strategy(1))
    moved = {n: np.abs(clipped[0][n] - start[0][n]).max() for n in start[0]}
    assert max(moved.values()) < 0.1 * max(np.abs(free[0][n] - start[0][n]).max() for n in start[0])


def test_xla_gives_the_same_weights(config, change):
    """The whole step compiled on one replica; on two, before and after their sum."""
    config = change(config, accumulate=2, ema_decay=0.9, optim__clip_norm=0.05)
    plain = train(config, mirrored_strategy(1))
    for strategy in (tf.distribute.get_strategy(), mirrored_strategy(1), mirrored_strategy(2)):
        assert_same(train(config, strategy, jit_compile=True), plain, 1e-4)


def test_default_strategy_equals_one_mirrored_replica(config):
    assert_same(
        train(config, tf.distribute.get_strategy()), train(config, mirrored_strategy(1)), 1e-6
    )
