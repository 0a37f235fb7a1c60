"""What is chosen from what the machine has."""

from __future__ import annotations

import pytest
import tensorflow as tf

from pipeline.errors import UserError
from pipeline.training import strategy as strategies


def test_a_cpu_machine_gets_one_device_in_float32_without_xla(config):
    strategy = strategies.make_strategy("auto")
    assert strategy.num_replicas_in_sync == 1
    assert not isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategies.device_type(strategy) == "CPU"
    assert strategies.compute_policy(config, strategy) == "float32"
    assert not strategies.use_xla(config, strategy)
    assert strategies.is_chief(strategy)


def test_precision_and_xla_can_be_demanded(config, change):
    strategy = strategies.make_strategy("default")
    demanding = change(config, precision="bfloat16", jit_compile="true")
    assert strategies.compute_policy(demanding, strategy) == "mixed_bfloat16"
    assert strategies.use_xla(demanding, strategy)


def test_mirrored_takes_the_logical_cpus_of_a_machine_without_gpu():
    assert strategies.make_strategy("mirrored").num_replicas_in_sync == 4


@pytest.mark.parametrize("text", ["nonsense", "{}", '{"cluster": {"worker": []}}'])
def test_a_tf_config_that_cannot_be_is_named(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG is not what TensorFlow expects"):
        strategies.make_strategy("auto")


def test_a_tpu_that_is_not_there_says_what_is_missing():
    with pytest.raises(UserError, match=r"no TPU .*tensorflow-tpu"):
        strategies.make_strategy("tpu")
