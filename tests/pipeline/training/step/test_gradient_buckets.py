"""How gradients travel between replicas."""

from __future__ import annotations

import pytest
import tensorflow as tf

from pipeline.devices import strategy as strategies
from pipeline.training.step.gradients import BUCKETS


def test_gradients_travel_in_buckets_that_neither_are_tiny_nor_hold_all():
    assert 25e6 <= BUCKETS.bytes_per_pack <= 50e6


@pytest.mark.parametrize(("devices", "implementation"), [([], "RING"), (["gpu"], "NCCL")])
def test_workers_with_gpus_ask_for_nccl(monkeypatch, devices, implementation):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices)
    assert strategies.communication_options().implementation.value == implementation


def test_buckets_leave_the_implementation_to_the_strategy():
    """Traced, not run: a mirrored strategy takes NCCL on GPUs and a ring on CPUs, by itself."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")[:2]]
    strategy = tf.distribute.MirroredStrategy(devices)

    def hints(options: tf.distribute.experimental.CommunicationOptions | None) -> list[bytes]:
        def of_replica():
            replica = tf.distribute.get_replica_context()
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, [tf.ones(3)], options=options)

        graph = tf.function(lambda: strategy.run(of_replica)).get_concrete_function().graph
        return [
            operation.get_attr("communication_hint")
            for operation in graph.get_operations()
            if operation.type == "CollectiveReduceV2"
        ]

    assert len(hints(BUCKETS)) == 2
    assert hints(BUCKETS) == hints(None)
