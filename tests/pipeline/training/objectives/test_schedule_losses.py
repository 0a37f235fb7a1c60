"""Schedules and losses against closed forms and Keras."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.training.objectives.classification import cross_entropy
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.step.schedule import learning_rate


@pytest.mark.parametrize(
    ("decay", "formula"),
    [
        ("cosine", lambda done: 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))),
        ("linear", lambda done: 1 - 0.9 * done),
        ("constant", lambda done: 1.0),
        ("rsqrt", lambda done: 1 / math.sqrt(1 + 40 * done / 5)),
    ],
)
def test_warm_up_then_decay(decay, formula):
    config = OptimConfig(peak_lr=1.0, warmup_steps=10, decay=decay, end_lr=0.1, rsqrt_timescale=5)
    for step in range(0, 51, 5):
        expected = step / 10 if step < 10 else formula((step - 10) / 40)
        assert float(learning_rate(tf.constant(step), config, 50)) == pytest.approx(expected)


def test_warm_up_longer_than_the_run_is_all_there_is():
    config = OptimConfig(peak_lr=1.0, warmup_steps=100)
    assert float(learning_rate(tf.constant(25), config, 50)) == pytest.approx(0.5)


def test_cool_down_multiplies_the_decay_and_ends_at_0():
    """1M steps of scaling ViT: 10k warm-up, timescale 10k, 50k cool-down."""
    config = OptimConfig(
        peak_lr=8e-4,
        warmup_steps=10_000,
        decay="rsqrt",
        rsqrt_timescale=10_000,
        cooldown_steps=50_000,
    )
    for step, share in ((5_000, 1), (40_000, 1), (950_000, 1), (975_000, 0.5), (1_000_000, 0)):
        decayed = 4e-4 if step < 10_000 else 8e-4 / math.sqrt(1 + (step - 10_000) / 10_000)
        found = float(learning_rate(tf.constant(step), config, 1_000_000))
        assert found == pytest.approx(share * decayed, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropies_are_those_of_keras(smoothing):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(5, 7)).astype("float32")
    labels = generator.integers(0, 7, 5)
    targets = np.eye(7)[labels] * (1 - smoothing) + smoothing / 7
    softmax = keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
    sigmoid = 7 * keras.losses.binary_crossentropy(targets, logits, from_logits=True)
    np.testing.assert_allclose(
        cross_entropy(logits, labels, "softmax", smoothing), softmax, rtol=1e-5
    )
    np.testing.assert_allclose(
        cross_entropy(logits, labels, "sigmoid", smoothing), sigmoid, rtol=1e-5
    )
