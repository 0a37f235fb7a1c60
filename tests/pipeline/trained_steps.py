"""A few steps of training on any number of replicas, and their weights compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.data.batches.distributed_batches import distributed_train_batches, training_order
from pipeline.data.dataset.source import open_source
from pipeline.named_models.teacher import open_teacher
from pipeline.training.model.build_model import build_model
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import make_train_step

STEPS = 3


def train(config, strategy, jit_compile=False, policy="float32"):
    """Train STEPS steps; returns weights by path (and averages), and the metrics of each step."""
    # The gradient of the keys' bias is zero but for rounding (softmax ignores a shift), and Adam
    # divides by its size: a larger epsilon keeps that rounding from becoming a step.
    config = replace(config, optim=replace(config.optim, epsilon=1e-4))
    source = open_source(config.data.source, multi_label=config.multi_label)
    split = source.split("train")
    with strategy.scope():
        model = build_model(
            config.model, config.data.height_width, 3, seed=config.seed, policy=policy
        )
        state = TrainState(model, config.optim, seed=config.seed, ema_decay=config.ema_decay)
        teacher = None
        if config.distillation:
            name = config.distillation.teacher
            teacher = open_teacher(name, source.class_names, policy).model
    # A zero head hides the gradients of all that is before it in the first step.
    for weight in model.get_layer("head").trainable_variables:
        weight.assign(np.random.default_rng(0).normal(0, 0.5, weight.shape))
    step = make_train_step(
        strategy, state, config, total_steps=10, jit_compile=jit_compile, teacher=teacher
    )
    batches = iter(
        distributed_train_batches(
            strategy, training_order(config, config.data, split, config.seed), split, config.data, 0
        )
    )
    metrics = [step(*next(batches)) for _ in range(STEPS)]
    slots = [slot for table in state.optimizer.slots for slot in table.values()]
    for variable in [*state.variables, *state.ema, *slots]:
        first, *others = strategy.experimental_local_results(variable)
        assert all(np.array_equal(first, other) for other in others)
    weights = {weight.path: weight.numpy() for weight in model.trainable_variables}
    averages = {f"average {i}": average.numpy() for i, average in enumerate(state.ema)}
    rows = [{name: float(value) for name, value in row.items()} for row in metrics]
    return weights | averages, rows


def assert_same(found, expected, tolerance, metrics_tolerance=1e-4):
    for name, value in expected[0].items():
        np.testing.assert_allclose(found[0][name], value, atol=tolerance, err_msg=name)
    for found_row, row in zip(found[1], expected[1], strict=True):
        assert found_row == pytest.approx(row, rel=metrics_tolerance)
