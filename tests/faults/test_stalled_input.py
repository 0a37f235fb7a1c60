"""A worker of the tf.data service that hangs: the run can be stopped, and keeps its steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from dataset_folders import REPOSITORY
from whole_runs import finish, start

from pipeline.launch_local import free_ports


@pytest.fixture
def service():
    """Address of a service, and the process of its only worker."""
    ports = free_ports(2)
    dispatcher, worker = (f"127.0.0.1:{port}" for port in ports)
    command = [sys.executable, "-m", "pipeline.data_service", "--dispatcher", dispatcher]
    command += ["--workers", worker]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    started = []
    for role in (["dispatcher"], ["worker", "--worker_index", "0"]):
        process = subprocess.Popen(
            [*command, "--role", *role], stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        assert "open to this machine alone" in process.stdout.readline()
    yield f"grpc://{dispatcher}", started[1]
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("steps_per_loop", [1, 4])
def test_a_run_whose_input_hangs_can_be_stopped(options, service, tmp_path, steps_per_loop):
    address, worker = service
    workdir, output = tmp_path / "run", tmp_path / "output"
    given = [option for option in options if not option.startswith(("--steps", "--transfer"))]
    given += [f"--workdir={workdir}", "--steps=100000", f"--data.service={address}"]
    given += [f"--steps_per_loop={steps_per_loop}", "--export=false"]
    process = start(given, output)
    while not (workdir / "checkpoints/ckpt-4.index").exists():
        assert process.poll() is None, output.read_text()
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(3)  # what was made before is used up
    os.kill(process.pid, signal.SIGTERM)
    sent = time.monotonic()
    assert finish(process, 60) == 143, output.read_text()
    assert time.monotonic() - sent < (8 if steps_per_loop == 1 else 30)
    assert "stopped at step" in output.read_text()
    assert list((workdir / "checkpoints").glob("ckpt-*.index"))
