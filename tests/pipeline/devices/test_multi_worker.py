"""Two worker processes over loopback train the weights that one process trains."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import REPOSITORY
from finished_runs import checkpoint_values, rows, stop_at

from groundwork import command_line
from groundwork.errors import InputFailed, WorkerLost
from pipeline import launch_local
from pipeline.devices.other_workers import end_together, explain_lost_worker
from pipeline.recipe.compared_options import compared_options
from pipeline.recipe.run_config import TransferJob
from pipeline.run.run_stages import run
from pipeline.training.loop.eval_config import EvalConfig


@pytest.fixture
def config(config, change):
    return change(config, optim__epsilon=1e-4, log__images=0, model__num_layers=1)


def write_yaml(config, path):
    path.write_text(command_line.to_yaml(config))
    return str(path)


def assert_same_checkpoint(found, expected, step, tolerance):
    values = checkpoint_values(found.workdir, step)
    for name, value in checkpoint_values(expected.workdir, step).items():
        np.testing.assert_allclose(values[name], value, atol=tolerance, err_msg=name)


def test_two_workers_train_the_weights_of_one_process(config, change, tmp_path, capfd):
    """With everything on that could part the batch otherwise; then both wait for the export."""
    config = change(
        config,
        steps=4,
        accumulate=2,
        ema_decay=0.9,
        model__dropout_rate=0.2,
        optim__clip_norm=0.05,
        data__mixup_alpha=0.2,
        data__cutmix_alpha=1.0,
        data__randaugment_layers=1,
        data__randaugment_magnitude=10,
        evals=[EvalConfig("near", "knn", k=[3])],
    )
    workers = change(config, workdir=config.workdir + "_workers")
    yaml = write_yaml(workers, tmp_path / "config.yaml")
    status = launch_local.main(["--show_all", "--", "--config", yaml])
    shown = capfd.readouterr().out
    assert status == 0, shown
    run(change(config, export=False))
    assert_same_checkpoint(workers, config, 4, 1e-5)
    assert "31 images" in shown
    found, expected = rows(workers.workdir), rows(config.workdir)
    assert found[-1]["near/accuracy_3nn"] == expected[-1]["near/accuracy_3nn"]
    for row in found:
        if "speed/step_seconds" in row:
            own = [row[f"workers/{worker}_step_seconds"] for worker in (0, 1)]
            assert min(own) > 0 and max(own) < 1.5 * row["speed/step_seconds"]
            assert row["workers/1_input_seconds"] >= 0
    assert "worker 0 of 2" in shown and "worker 1 of 2" in shown
    last = shown.splitlines()[-1]
    assert last == f"[0] export    {workers.workdir}/export", shown  # and nobody thought lost


def start_workers(yaml, folders):
    """A worker in each of `folders`."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in launch_local.free_ports(len(folders)))
    command = [sys.executable, "-m", "pipeline.pretrain", "--config", yaml, "--workers", addresses]
    return [
        subprocess.Popen(
            [*command, "--worker_index", str(index)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index, folder in enumerate(folders)
    ]


def test_workers_with_other_weights_all_refuse(config, change, tmp_path):
    """The same relative workdir on two machines that share no disk: one holds a checkpoint."""
    trained = change(config, steps=2, export=False, data__eval_split=None)
    run(trained)
    yaml = write_yaml(change(trained, workdir="run", steps=4), tmp_path / "config.yaml")
    (tmp_path / "other").mkdir()
    workers = start_workers(yaml, [tmp_path, tmp_path / "other"])
    outputs = [worker.communicate(timeout=200)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [1, 1], outputs
    for output in outputs:
        last = output.splitlines()[-1]
        assert last.startswith("error: worker 1 (127.0.0.1:"), output
        assert "differs from worker 0 in step (0, not 2), weights (" in last
        assert "one workdir that every worker sees (run)" in last
    assert not (tmp_path / "other" / "run" / "checkpoints").exists()


def test_options_of_the_run_are_compared_and_those_of_one_worker_are_not(config, change):
    options = compared_options(config)
    assert options["optim.peak_lr"] == "0.003" and options["transfer"] == "null"
    own = change(config, worker_index=1, workers="a:1,b:1", data__source="elsewhere")
    assert compared_options(own) == options
    for name, value in (("workdir", "x"), ("data__image_size", 32), ("optim__beta2", 0.9)):
        changed = compared_options(change(config, **{name: value}))
        assert {key for key in options if options[key] != changed[key]} == {name.replace("__", ".")}
    with_transfer = change(config, transfer=TransferJob("shapes"))
    assert compared_options(with_transfer).keys() == options.keys()


def test_a_killed_worker_is_restarted_and_the_weights_are_those_of_an_undisturbed_run(
    config, change, tmp_path, capfd
):
    """Three workers, each in two parts that XLA compiles; undisturbed, one process in one."""
    config = change(
        config,
        batch_size=18,
        eval_batch_size=9,
        jit_compile="true",
        steps=60,
        log__every_steps=1,
        checkpoint__every_steps=4,
        data__eval_split=None,
    )
    disturbed = change(config, export=False, workdir=config.workdir + "_disturbed")
    yaml = write_yaml(disturbed, tmp_path / "config.yaml")
    killed = []

    def kill_one():
        while not list(Path(disturbed.workdir, "checkpoints").glob("ckpt-*.index")):
            time.sleep(0.05)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().split(b"\0")
                if yaml.encode() in command and command[-3:-1] == [b"--worker_index", b"1"]:
                    killed.append(int(process.name))
                    os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    status = launch_local.main(
        ["--workers", "3", "--restarts", "1", "--show_all", "--", "--config", yaml]
    )
    shown = capfd.readouterr().out
    assert status == 0, shown
    assert len(killed) == 1 and "restart 1 of 1" in shown and "resumed at step" in shown
    run(change(config, export=False))
    assert_same_checkpoint(disturbed, config, 60, 1e-4)


def test_sigterm_to_one_stops_both_at_one_step_with_a_checkpoint(
    config, change, tmp_path, monkeypatch
):
    """In bfloat16, sums too, and with the weights of one process that is stopped at that step."""
    endless = change(
        config,
        precision="bfloat16",
        sum_precision="bfloat16",
        steps=100_000,
        data__eval_split=None,
        checkpoint__every_steps=50_000,
        log__every_steps=1,
    )
    both = change(endless, workdir=endless.workdir + "_workers")
    yaml = write_yaml(both, tmp_path / "config.yaml")
    workers = start_workers(yaml, [REPOSITORY, REPOSITORY])
    metrics = Path(both.workdir, "metrics.jsonl")
    deadline = time.monotonic() + 200
    while all(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        if metrics.exists() and metrics.read_text():
            break
        time.sleep(0.2)
    workers[1].send_signal(signal.SIGTERM)
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [143, 143], outputs
    (stop,) = {output.split("stopped at step ")[1].partition(";")[0] for output in outputs}
    with monkeypatch.context() as patch:
        stop_at(patch, int(stop), signal.SIGTERM)
        assert run(endless) == 143
    assert_same_checkpoint(both, endless, int(stop), 5e-3)


SEVERAL = SimpleNamespace(extended=SimpleNamespace(_in_multi_worker_mode=lambda: True))
GONE = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: reset by\n peer")


def test_a_lost_worker_is_one_line():
    with (
        pytest.raises(WorkerLost, match=r"is gone \(reset by peer\).*start all") as error,
        explain_lost_worker(SEVERAL),
    ):
        raise GONE
    assert "\n" not in str(error.value) and error.value.exit_status == 75
    with pytest.raises(WorkerLost), explain_lost_worker(SEVERAL):
        raise InputFailed("no batch") from GONE


def test_other_errors_are_what_they_are():
    for strategy, error in (
        (SEVERAL, tf.errors.InvalidArgumentError(None, None, "a bug")),
        (SEVERAL, InputFailed("no batch")),
        (tf.distribute.get_strategy(), GONE),
    ):
        with pytest.raises(type(error)), explain_lost_worker(strategy):
            raise error


def test_one_worker_waits_for_nobody():
    started = time.monotonic()
    end_together(tf.distribute.get_strategy(), 60)
    assert time.monotonic() - started < 1
