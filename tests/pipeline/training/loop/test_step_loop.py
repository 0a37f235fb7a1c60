"""Several steps in one call: the same weights, rows, checkpoints and errors."""

from __future__ import annotations

import pytest
import tensorflow as tf
from finished_runs import assert_bitwise_equal, checkpoint_values, rows

from groundwork.errors import TrainingDiverged
from pipeline.devices.strategy import mirrored_strategy
from pipeline.process.interruptible import InterruptibleIterator
from pipeline.process.stop_signal import StopSignal
from pipeline.process.watchdog import Watchdog
from pipeline.run import run_stages as run_module
from pipeline.run.run_stages import run
from pipeline.training.loop.step_loop import make_step_loop
from pipeline.training.loop.step_window import StepWindow


def test_a_run_in_loops_is_bitwise_the_run_in_steps(config, change, monkeypatch):
    """Also on two replicas; the loops are cut short to meet rows (2), evaluations and the end."""
    two = mirrored_strategy(2)
    monkeypatch.setattr(run_module.strategies, "make_strategy", lambda *_: two)
    config = change(
        config,
        export=False,
        model__num_layers=1,
        model__dropout_rate=0.1,
        log__every_steps=4,
        checkpoint__every_steps=3,
        eval_every_steps=6,
        steps=9,
    )
    looped = change(config, workdir=config.workdir + "_looped", steps_per_loop=3)
    assert run(config) == 0 and run(looped) == 0
    for step in (6, 9):
        found, expected = (checkpoint_values(c.workdir, step) for c in (looped, config))
        assert_bitwise_equal(found, expected)
    for row, other in zip(rows(looped.workdir), rows(config.workdir), strict=True):
        for name in {"step", *(n for n in other if n.startswith("train/")), "eval/loss"} & {*other}:
            assert row[name] == other[name], name
    assert [row["step"] for row in rows(looped.workdir) if "train/loss" in row] == [4, 8, 9]


def test_the_step_that_diverges_is_named():
    losses = tf.data.Dataset.from_tensor_slices(([1.0, 2.0, float("nan"), 4.0],))

    @tf.function
    def step(loss):
        return {"loss": loss, "gradient_norm": loss, "learning_rate": 0.5 * tf.ones([])}

    window = StepWindow(10, batch_size=1, watchdog=Watchdog(None, "worker 0"))
    with StopSignal() as stop:
        batches = InterruptibleIterator(losses, stop, alone=True)
        window.run_steps(batches, make_step_loop(step), 4)
    with pytest.raises(TrainingDiverged, match="step 13: loss nan"):
        window.check()
