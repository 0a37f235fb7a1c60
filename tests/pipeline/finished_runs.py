"""What runs left behind, and how to stop one at a step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.run import train_stage as run_module


def checkpoint_values(workdir, step):
    reader = tf.train.load_checkpoint(f"{workdir}/checkpoints/ckpt-{step}")
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


def assert_bitwise_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def rows(workdir):
    return [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]


def stop_at(monkeypatch, step_number, sent):
    """Make the run send itself a signal while it does that step."""
    original = run_module.make_train_step

    def make(strategy, state, *arguments, **options):
        step = original(strategy, state, *arguments, **options)

        def stopping(*batch):
            metrics = step(*batch)
            if int(state.step.numpy()) == step_number:
                os.kill(os.getpid(), sent)
            return metrics

        return stopping

    monkeypatch.setattr(run_module, "make_train_step", make)
