"""What is chosen from what the machine has."""

from __future__ import annotations

import socket
import threading

import pytest
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.devices import strategy as strategies
from pipeline.devices import tpu


def test_a_cpu_machine_gets_one_device_in_float32_without_xla(config):
    strategy = strategies.make_strategy(config)
    assert strategy.num_replicas_in_sync == 1
    assert not isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategies.device_type(strategy) == "CPU"
    assert strategies.compute_policy(config.precision, strategy) == "float32"
    assert not strategies.use_xla(config.jit_compile, strategy)
    assert strategies.is_chief(strategy)


def test_precision_and_xla_can_be_demanded(config, change):
    demanding = change(config, strategy="default", precision="bfloat16", jit_compile="true")
    strategy = strategies.make_strategy(demanding)
    assert strategies.compute_policy(demanding.precision, strategy) == "mixed_bfloat16"
    assert strategies.use_xla(demanding.jit_compile, strategy)


def test_mirrored_takes_the_logical_cpus_of_a_machine_without_gpu(config, change):
    assert strategies.make_strategy(change(config, strategy="mirrored")).num_replicas_in_sync == 4


def test_a_tpu_that_is_not_there_says_what_is_missing(config, change):
    with pytest.raises(UserError, match=r"no TPU: run on a TPU VM.*pipeline.preflight"):
        strategies.make_strategy(change(config, strategy="tpu"))


def test_a_tpu_vm_with_the_plain_wheel_is_told_the_line_to_install(config, change, monkeypatch):
    monkeypatch.setattr(tpu, "local_tpu_devices", lambda: ["/dev/accel0"])
    with pytest.raises(UserError, match=r"pip install 'tensorflow-tpu==2.20.*' -f https://"):
        strategies.make_strategy(change(config, strategy="tpu"))


def test_a_tpu_address_where_nobody_answers_is_no_endless_wait():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        address = f"grpc://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(UserError, match=r"TPU 'grpc://.* did not start .*--tpu_zone"):
            tpu.tpu_strategy(address)


def test_looking_up_a_tpu_has_a_time_limit(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(tpu, "LOOKUP_SECONDS", 0.01)
    monkeypatch.setattr(
        tf.distribute.cluster_resolver, "TPUClusterResolver", lambda **_: over.wait(10)
    )
    with pytest.raises(UserError, match=r"TPU 'gone' did not start .*no answer within 0.01 s"):
        tpu.tpu_strategy("gone", zone="here")
    over.set()
