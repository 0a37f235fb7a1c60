"""Two worker processes over loopback train the weights that one process trains."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_pretrain import checkpoint_values

from pipeline import cli, launch_local
from pipeline.training.run import run


@pytest.fixture
def config(config, change):
    return change(config, export=False, optim__epsilon=1e-4, log__images=0, model__num_layers=1)


def write_yaml(config, path):
    path.write_text(cli.to_yaml(config))
    return str(path)


def test_two_workers_train_the_weights_of_one_process(config, change, tmp_path, capfd):
    config = change(config, steps=4)
    workers = change(config, workdir=config.workdir + "_workers")
    status = launch_local.main(["--", "--config", write_yaml(workers, tmp_path / "config.yaml")])
    shown = capfd.readouterr().out
    assert status == 0, shown
    run(config)
    found = checkpoint_values(workers.workdir, 4)
    for name, value in checkpoint_values(config.workdir, 4).items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    assert "31 images" in shown
    assert "worker 0 of 2" in shown and "[1]" not in shown


def test_sigterm_stops_all_workers_at_one_step_with_a_checkpoint(config, change, tmp_path):
    endless = change(
        config,
        steps=100_000,
        data__eval_split=None,
        checkpoint__every_steps=50_000,
        log__every_steps=1,
    )
    launch = [sys.executable, "-m", "pipeline.launch_local", "--show_all", "true", "--", "--config"]
    with subprocess.Popen(
        [*launch, write_yaml(endless, tmp_path / "config.yaml")],
        cwd=cli.REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        metrics = Path(endless.workdir, "metrics.jsonl")
        deadline = time.monotonic() + 200
        while child.poll() is None and time.monotonic() < deadline:
            if metrics.exists() and metrics.read_text():
                break
            time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        output = child.communicate(timeout=120)[0]
    assert child.returncode == 143, output
    stops = [line.split("]", 1)[1] for line in output.splitlines() if "stopped at step" in line]
    assert len(stops) == 2 and len(set(stops)) == 1, output
    assert list(Path(endless.workdir, "checkpoints").glob("*.index"))
