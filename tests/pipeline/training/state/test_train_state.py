"""What is computed over all weights at once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.devices.strategy import mirrored_strategy
from pipeline.training.model.build_model import build_model
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.state.checkpoint import Checkpointer
from pipeline.training.state.train_state import TrainState


@pytest.fixture(params=["one replica", "two"])
def state(request, config):
    strategy = mirrored_strategy(2) if request.param == "two" else tf.distribute.get_strategy()
    with strategy.scope():
        model = build_model(config.model, config.data.height_width, 3, seed=0)
        state = TrainState(model, config.optim, seed=0, ema_decay=0.9)
    generator = np.random.default_rng(0)
    for variable in [*state.variables, *state.ema]:
        variable.assign(generator.normal(size=variable.shape))
    return state


def values(variables):
    return [variable.numpy() for variable in variables]


def assert_equal(found, expected):
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, other)


def test_averages_take_the_place_of_the_weights_and_give_it_back(state):
    weights, averages = values(state.variables), values(state.ema)
    with pytest.raises(KeyError), state.averaged_weights():
        assert_equal(values(state.variables), averages)
        raise KeyError  # whatever happens within
    assert_equal(values(state.variables), weights)
    assert_equal(values(state.ema), averages)


def test_parameter_norm(state):
    flat = np.concatenate([value.ravel() for value in values(state.variables)])
    assert state.parameter_norm() == pytest.approx(np.linalg.norm(flat), rel=1e-6)


def test_fingerprint_sees_one_bit_and_the_place_of_a_value(state):
    before = state.fingerprint()
    assert state.fingerprint() == before
    weight = next(v for v in state.variables if v.shape.rank == 2)
    value = weight.numpy()
    changed = value.copy()
    changed[0, 0] = np.nextafter(value[0, 0], np.float32(9))
    for other in (changed, value[::-1], -value):
        weight.assign(other)
        assert state.fingerprint() != before
    weight.assign(value)
    assert state.fingerprint() == before


@pytest.fixture(params=["keras.Muon", "schedule_free_adamw"])
def new_state(request, config):
    def make(seed=0):
        model = build_model(config.model, config.data.height_width, 3, seed=seed)
        return TrainState(model, OptimConfig(request.param, weight_decay=0.1), seed=0)

    return make


def advance(state, steps):
    for _ in range(steps):
        generator = np.random.default_rng(int(state.step.numpy()))
        gradients = [tf.constant(generator.normal(size=v.shape), v.dtype) for v in state.variables]
        state.optimizer.apply(gradients, tf.constant(0.01), state.step)
        state.step.assign_add(1)


def test_a_restored_optimizer_goes_on_as_if_it_had_not_been_stopped(new_state, tmp_path):
    state = new_state()
    advance(state, 3)
    checkpointer = Checkpointer(state, str(tmp_path))
    checkpointer.save()
    checkpointer.wait()
    advance(state, 3)
    restored = new_state(seed=1)
    assert Checkpointer(restored, str(tmp_path)).restore() == 3
    advance(restored, 3)
    assert_equal(values(restored.variables), values(state.variables))


@pytest.mark.parametrize("new_state", ["schedule_free_adamw"], indirect=True)
def test_the_mean_of_schedule_free_adamw_takes_the_place_of_the_weights(new_state):
    state = new_state()
    for variable in state.variables:
        variable.assign_add(tf.ones_like(variable))
    state.adopt_weights()
    begun = values(state.variables)
    advance(state, 1)  # the first mean is that of one, and so are the weights between
    for mean, weight in zip(state.optimizer.averages(), state.variables, strict=True):
        np.testing.assert_allclose(mean, weight, atol=1e-6)
    advance(state, 2)
    weights, averages = values(state.variables), values(state.optimizer.averages())
    with state.averaged_weights():
        assert_equal(values(state.variables), averages)
    assert_equal(values(state.variables), weights)
    assert max(np.abs(a - b).max() for a, b in zip(averages, begun, strict=True)) < 0.1
    state.take_averages()
    assert_equal(values(state.variables), averages)
