"""float16: overflow changes nothing but the scale, on all replicas, and survives a restart."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from groundwork.errors import TrainingDiverged
from pipeline.devices.strategy import mirrored_strategy
from pipeline.process.watchdog import Watchdog
from pipeline.training.loop.step_window import StepWindow
from pipeline.training.model.build_model import build_model
from pipeline.training.state.loss_scale import FLOOR, INITIAL_SCALE, LossScale
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import make_train_step


def test_the_scale_doubles_after_2000_finite_steps_and_is_halved_by_an_overflow():
    scale = LossScale()
    scale.finite_steps.assign(1998)
    found = []
    for finite in (True, True, True, False, False, True):
        scale.update(tf.constant(finite))
        found.append((scale.scale.numpy() / INITIAL_SCALE, int(scale.finite_steps.numpy())))
    assert found == [(1, 1999), (2, 0), (2, 1), (1, 0), (0.5, 0), (0.5, 1)]
    assert scale.skipped_steps.numpy() == 2


def test_the_scale_does_not_fall_below_its_floor():
    scale = LossScale()
    scale.scale.assign(1.5)
    for _ in range(2):
        scale.update(tf.constant(False))
    assert scale.scale.numpy() == FLOOR


OVERFLOWS = 2
"""A class: the scaled gradient of an image of it does not fit into float16."""


@pytest.fixture(scope="module")
def batches():
    """Two global batches; the gradient of the second one's last image overflows."""
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (2, 8, 16, 16, 3)).astype(np.float32)
    labels = generator.integers(0, OVERFLOWS, (2, 8))
    labels[1, -1] = OVERFLOWS
    return [(i, k, np.arange(8, dtype=np.int32)) for i, k in zip(images, labels, strict=True)]


def set_head(model):
    """Small weights, but large ones for the class that overflows, which is never the answer."""
    kernel = np.random.default_rng(0).normal(0, 0.05, model.head.kernel.shape)
    kernel[:, OVERFLOWS] = 50.0
    model.head.kernel.assign(kernel)
    model.head.bias.assign([0.0, 0.0, -3000.0])


def run_steps(config, replicas, batches, order):
    """Train on `batches` in that order; returns the state and the metrics of each step."""
    strategy = mirrored_strategy(replicas)
    with strategy.scope():
        model = build_model(
            config.model, config.data.height_width, 3, seed=config.seed, policy="mixed_float16"
        )
        state = TrainState(model, config.optim, seed=0, scale_loss=True)
    set_head(model)
    step = make_train_step(strategy, state, config, total_steps=10, jit_compile=False)
    rows, share = [], config.batch_size // replicas
    for index in order:
        batch = [
            strategy.experimental_distribute_values_from_function(
                lambda context, value=value: tf.constant(
                    value[context.replica_id_in_sync_group * share :][:share]
                )
            )
            for value in batches[index]
        ]
        before = [variable.numpy() for variable in state.variables]
        rows.append({name: float(value) for name, value in step(*batch).items()})
        after = [variable.numpy() for variable in state.variables]
        rows[-1]["moved"] = not all(map(np.array_equal, before, after))
    return state, rows


@pytest.fixture(scope="module")
def small():
    """Of a configuration: what is quick to compile."""
    return {
        "model__num_layers": 1,
        "batch_size": 8,
        "optim__epsilon": 1e-4,
        "optim__warmup_steps": 0,
    }


def test_an_overflow_on_one_replica_skips_the_step_on_all(config, change, small, batches):
    config = change(config, **small)
    state, rows = run_steps(config, 2, batches, [0, 1, 0])
    assert [row["moved"] for row in rows] == [True, False, True]
    assert not np.isfinite(rows[1]["gradient_norm"]) and np.isfinite(rows[1]["loss"])
    assert [row["loss_scale"] for row in rows] == [2.0**15, 2.0**15, 2.0**14]
    assert state.step.numpy() == 3 and state.loss_scale.skipped_steps.numpy() == 1
    one, one_rows = run_steps(config, 1, batches, [0, 1, 0])
    for variable, other in zip(state.variables, one.variables, strict=True):
        local = [value.numpy() for value in variable.values]
        np.testing.assert_array_equal(*local)
        np.testing.assert_allclose(local[0], other.numpy(), atol=2e-3)
    assert rows[0]["gradient_norm"] == pytest.approx(one_rows[0]["gradient_norm"], rel=1e-2)


def test_gradients_are_those_of_float32(config, change, small, batches):
    config = change(config, **small)
    _, rows = run_steps(config, 1, batches, [0])
    model = build_model(config.model, config.data.height_width, 3, seed=config.seed)
    state = TrainState(model, config.optim, seed=0)
    set_head(model)
    strategy = tf.distribute.get_strategy()
    step = make_train_step(strategy, state, config, total_steps=10, jit_compile=False)
    expected = step(*map(tf.constant, batches[0]))
    assert rows[0]["gradient_norm"] == pytest.approx(float(expected["gradient_norm"]), rel=1e-2)
    assert rows[0]["loss"] == pytest.approx(float(expected["loss"]), rel=1e-2)


def test_a_checkpoint_keeps_the_scale(config, tmp_path):
    def state():
        model = build_model(config.model, config.data.height_width, 3, seed=config.seed)
        return TrainState(model, config.optim, seed=0, scale_loss=True)

    first, second = state(), state()
    first.loss_scale.scale.assign(512.0)
    first.loss_scale.skipped_steps.assign(6)
    path = first.trackable().save(str(tmp_path / "ckpt"))
    second.trackable().restore(path)
    assert second.loss_scale.scale.numpy() == 512.0
    assert second.loss_scale.skipped_steps.numpy() == 6


def window_of(*rows):
    window = StepWindow(0, batch_size=1, watchdog=Watchdog(None, "worker 0"))
    for row in rows:
        metrics = {name: tf.constant(value) for name, value in row.items()}
        window.run_step(iter([()]), lambda metrics=metrics: metrics)
    return window


GOOD = {"loss": 1.0, "gradient_norm": 2.0, "learning_rate": 0.1, "loss_scale": 4.0}


def test_an_overflow_is_no_divergence_until_the_scale_is_at_its_floor():
    overflow = GOOD | {"gradient_norm": float("inf"), "loss_scale": 2.0}
    summary = window_of(GOOD, overflow).summary()
    assert summary["train/gradient_norm"] == 2.0 and summary["train/loss_scale"] == 2.0
    with pytest.raises(TrainingDiverged, match="step 2: loss 1, gradient norm inf"):
        window_of(GOOD, overflow | {"loss_scale": FLOOR}).check()


def test_a_loss_that_is_not_finite_is_a_divergence_at_any_scale():
    with pytest.raises(TrainingDiverged, match="step 1: loss nan"):
        window_of(GOOD | {"loss": float("nan")}).check()
