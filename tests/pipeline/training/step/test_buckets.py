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
