"""What runs left behind, and how to stop one at a step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.data.data_config import DataConfig
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run import train_stage as run_module
from pipeline.training.model.build_model import build_model
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.state.checkpoint import Checkpointer
from pipeline.training.state.train_state import TrainState
from pipeline.workdir.workdir import Workdir


def make_workdir(folder, ema_decay=None, **options):
    """A run with checkpoints of steps 1 and 2, its weights random; returns its state."""
    config = PretrainConfig(
        data=DataConfig(source="nowhere", image_size=16, eval_resize=20),
        workdir=str(folder),
        model=ModelConfig("Ti/16", num_layers=1, width=16, mlp_dim=32, num_heads=2),
        ema_decay=ema_decay,
        steps=2,
        **options,
    )
    workdir = Workdir(str(folder))
    workdir.archive(config, ["ant", "bée"])
    state = TrainState(
        build_model(config.model, config.data.height_width, 2, seed=config.seed),
        config.optim,
        seed=0,
        ema_decay=ema_decay,
    )
    checkpointer = Checkpointer(state, workdir.checkpoints, keep=2)
    generator = np.random.default_rng(1)
    for step in (1, 2):
        state.step.assign(step)
        for variable in [*state.variables, *state.ema]:
            variable.assign(generator.normal(0, 0.3, variable.shape))
        checkpointer.save()
    return state


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
