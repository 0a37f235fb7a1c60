"""All that a TPU compiles of a step is compiled by XLA here, with static shapes, on the CPU.

That is what `strategy.run` is given: forward and backward pass, mixing, microbatches, all-reduce,
clipping, update and moving average. Outside of it, on the host, stay the draw of MixUp's and
CutMix's shares (`draw_mixing`, in the input: XLA has no gamma variables) and the counting of steps.
"""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import vit_keras
from pipeline.data.batches.distributed_batches import distributed_train_batches, training_order
from pipeline.data.batches.mixing_draw import draw_mixing
from pipeline.data.dataset.source import open_source
from pipeline.training.model.build_model import build_model
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import make_replica_step

VIT = ModelConfig("Ti/8", num_layers=1, width=16, mlp_dim=32, num_heads=2)
HYBRID = ModelConfig("R+Ti/16", num_layers=1, width=16, mlp_dim=32, num_heads=2, dropout_rate=0.1)


def small_bit(config, num_classes, policy):
    keras.config.set_dtype_policy(policy)
    try:
        return vit_keras.BiTResNet(
            image_size=config.data.height_width,
            units=(1,),
            width_factor=1,
            num_classes=num_classes,
        )
    finally:
        keras.config.set_dtype_policy("float32")


def vit(config, classes, policy):
    return build_model(
        config.model, config.data.height_width, classes, seed=config.seed, policy=policy
    )


def small_hybrid(config, *rest):
    return vit(replace(config, model=HYBRID), *rest)


@pytest.fixture
def everything_on(config, change):
    return change(
        config,
        data__image_size=32,
        data__mixup_alpha=0.2,
        data__cutmix_alpha=1.0,
        batch_size=8,
        accumulate=2,
        ema_decay=0.9,
        label_smoothing=0.1,
    )


def state_and_batch(config, build, policy):
    model = build(config, 3, policy)
    state = TrainState(model, config.optim, seed=config.seed, ema_decay=config.ema_decay)
    state.step.assign(3)  # past the first step of warm-up, whose learning rate is 0
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (config.batch_size, *config.data.height_width, 3))
    batch = (
        tf.constant(images, tf.float32),
        tf.constant(generator.integers(0, 3, config.batch_size), tf.int64),
        tf.range(config.batch_size, dtype=tf.int32),
    )
    if config.data.mixes_images:
        alphas = (config.data.augmentation.mixup_alpha, config.data.cutmix_alpha)
        batch += draw_mixing(config.seed, state.step, config.data.height_width, *alphas)
    return state, batch


def dynamic_tensors(graph):
    """Numbers of unknown shape, in a graph and in the functions that it calls."""
    functions = [graph, *(graph._get_function(f.name).graph for f in graph._functions.values())]
    return [
        (operation.name, output.shape)
        for function in functions
        for operation in function.get_operations()
        for output in operation.outputs
        # The condition of a while loop takes all loop variables, and ignores these.
        if output.dtype.is_floating and "redundant_placeholder" not in operation.name
        if not output.shape.is_fully_defined()
    ]


def run_compiled(step, batch):
    """Metrics of a step that XLA compiles, after a look at the shapes of its graph."""
    compiled = tf.function(step, jit_compile=True).get_concrete_function(*batch)
    assert all(tensor.shape.is_fully_defined() for tensor in compiled.inputs)
    assert not dynamic_tensors(compiled.graph)
    return compiled(*batch)


@pytest.mark.parametrize(("build", "optimizer"), [(small_hybrid, "adafactor"), (small_bit, "sgd")])
def test_the_whole_replica_step_compiles(everything_on, change, build, optimizer):
    config = change(everything_on, optim__optimizer=optimizer, optim__moment_dtype="bfloat16")
    state, batch = state_and_batch(config, build, "mixed_bfloat16")
    before = [variable.numpy() for variable in [*state.variables, *state.ema]]
    step = make_replica_step(state, config, total_steps=10, jit_compile=False)
    metrics = run_compiled(step, batch)
    assert np.isfinite(metrics["loss"].numpy()) and metrics["gradient_norm"].numpy() > 0
    head, average = state.variables[-1].numpy(), state.ema[-1].numpy()
    assert not np.array_equal(head, before[len(state.variables) - 1])
    assert not np.array_equal(average, before[-1])


def test_the_compiled_step_is_the_step(everything_on, change):
    """In float32, and without dropout, whose numbers XLA draws otherwise."""
    config = change(everything_on, model=VIT, data__image_size=16, optim__epsilon=1e-4)
    results = []
    for run in (lambda step, batch: tf.function(step)(*batch), run_compiled):
        state, batch = state_and_batch(config, vit, "float32")
        metrics = run(make_replica_step(state, config, total_steps=10, jit_compile=False), batch)
        values = [variable.numpy() for variable in [*state.variables, *state.ema]]
        results.append((values, {name: float(value) for name, value in metrics.items()}))
    for plain, fused in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_allclose(fused, plain, atol=1e-5)
    assert results[1][1] == pytest.approx(results[0][1], rel=1e-4)


def test_the_input_has_static_shapes(everything_on):
    split = open_source(everything_on.data.source).split("train")
    batches = distributed_train_batches(
        tf.distribute.get_strategy(),
        training_order(everything_on, everything_on.data, split, everything_on.seed),
        split,
        everything_on.data,
        0,
    )
    assert all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(batches.element_spec))
