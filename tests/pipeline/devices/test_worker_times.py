"""Which worker the others wait for."""

from __future__ import annotations

import tensorflow as tf

from pipeline.devices.strategy import mirrored_strategy
from pipeline.devices.worker_times import WorkerTimes


def times(*workers):
    """Scalars of workers that compute and wait for so many seconds."""
    return {
        f"workers/{worker}_{name}": seconds
        for worker, pair in enumerate(workers)
        for name, seconds in zip(("step_seconds", "input_seconds"), pair, strict=True)
    }


def test_the_worker_that_lags_is_named_once(monkeypatch):
    asked = WorkerTimes(tf.distribute.get_strategy())
    assert asked.scalars(0.1, 0.0) == {} and asked.straggler({}) is None
    monkeypatch.setattr(asked, "_workers", 3)
    even, late = times((0.1, 0), (0.11, 0), (0.1, 0.01)), times((0.1, 0), (0.1, 0.2), (0.1, 0))
    assert asked.straggler(even) is None
    assert asked.straggler(late) == (
        "the others wait for worker 1: 0.3 s for its part of a step (0.2 s of it for input), "
        "against 0.1 s in the median"
    )
    assert asked.straggler(late) is None
    assert asked.straggler(even) is None and asked.straggler(late) is not None


def test_every_worker_hears_the_times_of_all(monkeypatch):
    """Two replicas stand for two workers."""
    asked = WorkerTimes(mirrored_strategy(2))
    monkeypatch.setattr(asked, "_workers", 2)
    assert asked.scalars(0.5, 0.25) == times((0.5, 0.25), (0.5, 0.25))
