"""What is computed over all weights at once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.devices.strategy import mirrored_strategy
from pipeline.training.model.build_model import build_model
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
