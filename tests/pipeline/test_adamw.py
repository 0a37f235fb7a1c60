"""AdamW against Keras' own."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import OptimConfig
from pipeline.training.adamw import AdamW


def test_updates_are_those_of_keras():
    generator = np.random.default_rng(0)
    start = [generator.normal(size=(3, 4)).astype("float32"), np.ones(4, "float32")]
    config = OptimConfig(weight_decay=0.3, beta1=0.8, beta2=0.95, epsilon=1e-4)
    ours = [tf.Variable(value) for value in start]
    optimizer = AdamW(ours, [True, False], config)
    theirs = [
        keras.Variable(value, name=name)
        for value, name in zip(start, ("kernel", "bias"), strict=True)
    ]
    reference = keras.optimizers.AdamW(
        0.02, weight_decay=0.3, beta_1=0.8, beta_2=0.95, epsilon=1e-4
    )
    reference.exclude_from_weight_decay(var_names=["bias"])
    for step in range(5):
        gradients = [tf.constant(generator.normal(size=v.shape), tf.float32) for v in start]
        optimizer.apply(gradients, tf.constant(0.02), tf.constant(step))
        reference.apply(gradients, theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other.numpy(), atol=1e-6)
