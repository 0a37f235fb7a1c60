"""Batches made by one dispatcher and two workers are those made here, in the same order."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from groundwork.errors import InputFailed, UserError
from pipeline import data_service
from pipeline.check_config import check_config
from pipeline.data.source import open_source
from pipeline.data.train_batches import train_batches
from pipeline.data.train_order import EpochOrder
from pipeline.launch_local import free_ports
from pipeline.training import run as run_module

STEPS = 8  # an epoch has 11


@contextlib.contextmanager
def two_workers():
    """A service, as its address and its workers."""
    service = tf.data.experimental.service
    ports = free_ports(2)
    addresses = [f"localhost:{port}" for port in ports]
    server = service.DispatchServer(service.DispatcherConfig(worker_addresses=addresses))
    target = server.target
    workers = [
        service.WorkerServer(
            service.WorkerConfig(target.partition("://")[2], worker_address=address, port=port)
        )
        for address, port in zip(addresses, ports, strict=True)
    ]
    yield target, workers
    for worker in workers:
        worker._stop()
    server._stop()


@pytest.fixture(scope="module")
def dispatcher():
    """Address of a service of two workers."""
    with two_workers() as (target, _):
        yield target


def batches_of(data, start_step=0, host=0, num_hosts=1):
    split = open_source(data.source).split("train")
    order = EpochOrder(split.files, 8, data.shuffle_window, 0)
    return train_batches(
        order,
        split,
        data,
        start_step=start_step,
        replica_batch_size=8 // num_hosts,
        host=host,
        num_hosts=num_hosts,
    )


@pytest.mark.parametrize("policy", ["big_vision", "keras_cv"])
def test_the_service_gives_the_same_batches(config, change, dispatcher, policy):
    """To the second of two hosts, of a run that resumes at step 7, over the end of an epoch."""
    fields = {"start_step": 7, "host": 1, "num_hosts": 2}
    config = change(
        config,
        data__augment_preset="light2",
        data__randaugment_policy=policy,
        data__service_workers=2,
    )
    served = change(config, data__service=dispatcher)
    check_config(served)
    here, there = batches_of(config.data, **fields), batches_of(served.data, **fields)
    assert there.element_spec == here.element_spec
    for ours, theirs in zip(here.take(STEPS), there.take(STEPS), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_too_few_workers_never_give_another_order(config, change, dispatcher):
    """An error, unless the worker that the service asks first happens to have the first batch."""
    served = change(config, data__service=dispatcher, data__service_workers=1)
    there = []
    try:
        there += batches_of(served.data).take(STEPS)
    except tf.errors.InvalidArgumentError as error:
        assert "data.service_workers is smaller" in str(error)
    for ours, theirs in zip(batches_of(config.data), there, strict=False):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_worker_that_dies_ends_the_run_after_a_checkpoint(config, change, monkeypatch):
    config = change(config, steps=500, log__images=0, model__num_layers=1, export=False)
    with two_workers() as (target, workers):
        config = change(config, data__service=target, data__service_workers=2)
        original = run_module.make_train_step

        def make(strategy, state, *arguments, **options):
            step = original(strategy, state, *arguments, **options)

            def dying(*batch):
                if int(state.step.numpy()) == 5:
                    workers.pop()._stop()
                return step(*batch)

            return dying

        monkeypatch.setattr(run_module, "make_train_step", make)
        with pytest.raises(
            InputFailed,
            match=r"no batch after step \d+: .*A worker of the tf.data service is gone",
        ) as error:
            run_module.run(config)
    told = str(error.value)
    assert "\n" not in told and error.value.exit_status == 1
    step = int(re.search(r"no batch after step (\d+)", told)[1])
    assert f"the checkpoint of step {step} is kept" in told
    assert Path(config.workdir, "checkpoints", f"ckpt-{step}.index").exists()


def test_a_dispatcher_that_is_not_there(config, change):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        address = f"grpc://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(UserError, match=r"no dispatcher answers.*pipeline.data_service"):
            batches_of(change(config, data__service=address).data)


def test_options_are_checked(config, change):
    with pytest.raises(UserError, match=r"data.service is host:1: give grpc://host:port"):
        check_config(change(config, data__service="host:1"))
    with pytest.raises(UserError, match=r"--dispatcher: 'here' is not host:port"):
        data_service.main(["--role", "worker", "--dispatcher", "here", "--workers", "a:1"])
