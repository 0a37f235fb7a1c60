"""Keras' optimizers through the adapter: the same as Keras', and as their authors use them."""

from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.training.optimizers.keras_arguments import check_optimizer, keras_arguments
from pipeline.training.optimizers.make_optimizer import make_optimizer
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.weight_rules import WeightRule

RATE = 0.02
SHAPES = {
    "vit/embedding/kernel": (6, 8),
    "vit/block_0/mlp/kernel": (8, 12),
    "vit/block_0/mlp/bias": (12,),
    "vit/head/kernel": (8, 3),
}


def named_variable(path, value):
    *scopes, name = path.split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        return keras.Variable(value, name=name)


@pytest.fixture
def weights():
    generator = np.random.default_rng(0)
    return [
        named_variable(path, generator.normal(size=shape).astype("float32"))
        for path, shape in SHAPES.items()
    ]


@pytest.fixture(scope="module")
def steps():
    generator = np.random.default_rng(1)
    shapes = SHAPES.values()
    return [[generator.normal(size=s).astype("float32") for s in shapes] for _ in range(4)]


def run_ours(config, weights, steps, weight_decay=0.0):
    rules = [WeightRule(weight_decay)] * len(weights)
    optimizer = make_optimizer(weights, rules, config)
    for step, gradients in enumerate(steps):
        optimizer.apply([tf.constant(g) for g in gradients], tf.constant(RATE), tf.constant(step))


@pytest.mark.parametrize("name", keras_arguments())
def test_each_optimizer_is_that_of_keras(name, weights, steps):
    start = [weight.numpy() for weight in weights]
    options = {"adam_weight_decay": 0.3, "exclude_layers": ["head"]} if name == "Muon" else {}
    reference = getattr(keras.optimizers, name)(RATE, weight_decay=0.3, **options)
    for gradients in steps:
        reference.apply([tf.constant(gradient) for gradient in gradients], weights)
    expected = [weight.numpy() for weight in weights]
    for weight, value in zip(weights, start, strict=True):
        weight.assign(value)
    run_ours(OptimConfig(optimizer=f"keras.{name}"), weights, steps, 0.3)
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, atol=1e-6)


def test_muon_turns_the_kernels_of_blocks_alone(weights, steps):
    """Its update has singular values of about 1, times 0.2 and the root of the larger side."""
    start = [weight.numpy() for weight in weights]
    run_ours(OptimConfig(optimizer="keras.Muon"), weights, steps[:1])
    moves = [weight.numpy() - value for weight, value in zip(weights, start, strict=True)]
    singular = np.linalg.svd(moves[1], compute_uv=False) / (RATE * 0.2 * np.sqrt(12))
    assert singular.min() > 0.6 and singular.max() < 1.3
    for index in (0, 2, 3):  # Adam's first step: the rate, whatever the gradient's size
        np.testing.assert_allclose(np.abs(moves[index]), RATE, rtol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "keras.Muom"}, "optimizer is keras.Muom: did you mean keras.Muon?"),
        ({"optimizer": "adam"}, "optimizer is adam: did you mean adamw"),
        (
            {"optimizer": "keras.Muon", "beta2": 0.95},
            "not for keras.Muon: .*adam_beta_1",
        ),
        ({"optimizer": "schedule_free_adamw", "beta1": 0.0}, r"optim\.beta1 is 0"),
        (
            {"optimizer": "schedule_free_adamw", "moment_dtype": "bfloat16"},
            "moment_dtype=bfloat16 is not for schedule_free_adamw",
        ),
        ({"keras_options": {"rho": 1}}, "keras_options are of optimizers of Keras, not of adamw"),
        (
            {"optimizer": "keras.Lion", "keras_options": {"beta2": 0.9}},
            "keras.Lion has no beta2: did you mean beta_2?",
        ),
        (
            {"optimizer": "keras.Lion", "keras_options": {"weight_decay": 0.9}},
            "keras.Lion has no weight_decay",
        ),
        (
            {"optimizer": "keras.Muon", "keras_options": {"ns_steps": 2.5}},
            r"ns_steps is 2\.5: give such as 5",
        ),
        (
            {"optimizer": "keras.Muon", "keras_options": {"nesterov": 1}},
            "nesterov is 1: give such as True",
        ),
    ],
)
def test_names_and_options_that_are_none(options, message):
    with pytest.raises(UserError, match=message):
        check_optimizer(OptimConfig(**options))
