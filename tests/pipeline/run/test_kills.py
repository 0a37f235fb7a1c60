"""`kill -9` at random moments, ten times in a row, changes nothing of the result."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from finished_runs import assert_bitwise_equal, checkpoint_values, rows

from groundwork import command_line
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.run_stages import run

KILLS = 10
EVERY = 4
STEPS = 400
KILLED_STARTING = 3
"""Kills while the run starts up; the others while it trains and saves."""


def start(yaml: str, output: str) -> None:
    """A run, in a process of its own."""
    sys.stdout = Path(output).open("w")  # noqa: SIM115
    run(command_line.parse(PretrainConfig, ["--config", yaml], prog="pretrain"))


def last_step(workdir: str) -> int:
    """The last step in the log, which is written before the checkpoint of that step."""
    try:
        return max((row["step"] for row in rows(workdir)), default=0)
    except (OSError, ValueError):  # not there yet, or half a row
        return 0


@pytest.mark.long
def test_ten_kills_at_random_moments(config, change, tmp_path):
    config = change(
        config,
        export=False,
        steps=STEPS,
        model__num_layers=1,
        data__eval_split=None,
        checkpoint__every_steps=EVERY,
        log__every_steps=1,
        log__images=0,
    )
    yaml, output = tmp_path / "config.yaml", tmp_path / "output"
    yaml.write_text(command_line.to_yaml(config))
    generator = random.Random(0)
    # A server that has imported TensorFlow, not started it, forks each run: 6 s less for each.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pipeline.run.run_stages"])
    reached = 0
    for kill in range(KILLS):
        process = processes.Process(target=start, args=(str(yaml), str(output)))
        process.start()
        target = reached + generator.randrange(1, 3 * EVERY)
        deadline = time.monotonic() + (240 if kill >= KILLED_STARTING else generator.random() * 4)
        while last_step(config.workdir) < target and time.monotonic() < deadline:
            assert process.is_alive(), output.read_text()
            time.sleep(0.001)
        time.sleep(generator.random() * 0.03)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        if "resumed at step" in output.read_text():
            resumed = int(output.read_text().split("resumed at step ")[1].split()[0].rstrip(","))
            assert reached - resumed <= 2 * EVERY  # saved while the next steps were being done
        reached = max(reached, last_step(config.workdir))
    assert 0 < reached < STEPS
    assert run(config) == 0
    whole = change(config, workdir=config.workdir + "_whole", checkpoint__every_steps=STEPS)
    run(change(whole, log__every_steps=STEPS))
    assert_bitwise_equal(
        checkpoint_values(config.workdir, STEPS), checkpoint_values(whole.workdir, STEPS)
    )
    assert [row["step"] for row in rows(config.workdir)] == list(range(1, STEPS + 1))
