"""Sharpness-aware minimization: in closed form, and the same on any number of replicas."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from trained_steps import assert_same, train

from pipeline.devices.strategy import mirrored_strategy
from pipeline.training.step.sharpness import worst_weights_nearby


def test_the_gradient_is_that_of_the_worst_weights_nearby():
    """Of ½‖A·w‖², whose gradient is AᵀA·w."""
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(4, 3))
    square = matrix.T @ matrix
    start = generator.normal(size=3)
    weights = tf.Variable(start, dtype=tf.float32)

    def gradient():
        return tf.linalg.matvec(tf.constant(square, tf.float32), weights)

    def sam_gradient():
        with worst_weights_nearby([weights], [gradient()], rho=0.3):
            return gradient()

    first = square @ start
    expected = square @ (start + 0.3 * first / np.linalg.norm(first))
    for compiled in (False, True):
        found = tf.function(sam_gradient, jit_compile=compiled)()
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_array_equal(weights, start.astype(np.float32))


def test_where_the_gradient_is_zero_the_weights_stay():
    weights = tf.Variable([1.0, 2.0])
    with worst_weights_nearby([weights], [tf.zeros(2)], rho=0.3):
        assert weights.numpy().tolist() == [1.0, 2.0]


def test_weights_do_not_depend_on_replicas_or_microbatches(config, change):
    config = change(config, model__num_layers=1, optim__sam_rho=0.5, optim__clip_norm=0.05)
    one = train(config, mirrored_strategy(1))
    two = train(change(config, accumulate=2), mirrored_strategy(2))
    assert_same(two, one, 2e-5)
    without = train(change(config, optim__sam_rho=None), mirrored_strategy(1))
    moved = [np.abs(one[0][name] - without[0][name]).max() for name in one[0]]
    assert max(moved) > 1e-4
    # The first step's loss is that of the weights themselves.
    assert one[1][0]["loss"] == without[1][0]["loss"]
