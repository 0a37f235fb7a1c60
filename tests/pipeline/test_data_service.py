"""Batches made by one dispatcher and two workers are those made here, in the same order."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import tensorflow as tf

from pipeline import data_service
from pipeline.check_config import check_config
from pipeline.data.source import open_source
from pipeline.data.train_batches import train_batches
from pipeline.data.train_order import EpochOrder
from pipeline.errors import UserError
from pipeline.launch_local import free_ports

STEPS = 8  # an epoch has 11


@pytest.fixture(scope="module")
def dispatcher():
    """Address of a service of two workers."""
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
    yield target
    for worker in workers:
        worker._stop()
    server._stop()


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


def test_the_service_gives_the_same_batches(config, change, dispatcher):
    """To the second of two hosts, of a run that resumes at step 7, over the end of an epoch."""
    fields = {"start_step": 7, "host": 1, "num_hosts": 2}
    config = change(config, data__mixup_alpha=0.2, data__service_workers=2)
    served = change(config, data__service=dispatcher)
    check_config(served)
    here, there = batches_of(config.data, **fields), batches_of(served.data, **fields)
    assert there.element_spec == here.element_spec
    for ours, theirs in zip(here.take(STEPS), there.take(STEPS), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_too_few_workers_are_an_error_and_no_other_order(config, change, dispatcher):
    served = change(config, data__service=dispatcher, data__service_workers=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"data.service_workers is smaller"):
        list(batches_of(served.data).take(STEPS))


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
