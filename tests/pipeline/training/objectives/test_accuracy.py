"""Top-1 and top-5 against TensorFlow's own, ties included."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.training.objectives.classification import accuracies, hits


@pytest.mark.parametrize("jit_compile", [False, True])
def test_hits_are_those_of_top_k_also_among_equal_logits(jit_compile):
    generator = np.random.default_rng(0)
    logits = generator.integers(0, 5, (200, 12)).astype(np.float32)  # full of ties
    labels = generator.integers(0, 12, 200).astype(np.int32)
    found = tf.function(hits, jit_compile=jit_compile)(tf.constant(logits), tf.constant(labels))
    order = tf.math.top_k(logits, 5).indices.numpy()
    np.testing.assert_array_equal(found[:, 0], order[:, 0] == labels)
    np.testing.assert_array_equal(found[:, 1], (order == labels[:, None]).any(axis=1))


def test_top_5_is_a_metric_from_six_classes_on():
    right = tf.constant([3.0, 9.0])
    assert {name: float(value) for name, value in accuracies(right, 10, 6).items()} == {
        "accuracy": pytest.approx(0.3),
        "accuracy_top5": pytest.approx(0.9),
    }
    assert set(accuracies(right, 10, 5)) == {"accuracy"}
