"""A run that is killed or told to stop, in whatever stage, ends as one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from finished_runs import assert_bitwise_equal, checkpoint_values
from whole_runs import assert_quiet, finish, start

STAGES = ("config.yaml", "checkpoints/ckpt-2.index", "checkpoints/ckpt-8.index", "export.begun",
          "export/export.json", "transfer")  # fmt: skip
"""What appears as a run goes on. `export.begun`: its staging folder."""


def wait_for(stage: str, workdir: Path, process) -> None:
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        begun = list(workdir.glob(".export-*")) if stage == "export.begun" else []
        if begun or (workdir / stage).exists():
            return
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The same run, left alone."""
    folder = tmp_path_factory.mktemp("whole")
    workdir = folder / "run"
    output = folder / "output"
    process = start([*options, f"--workdir={workdir}"], output)
    assert finish(process) == 0, output.read_text()
    assert_quiet(output)
    return workdir


def assert_as_if_left_alone(workdir: Path, whole: Path) -> None:
    assert_bitwise_equal(checkpoint_values(workdir, 8), checkpoint_values(whole, 8))
    of_both = [json.loads((path / "export/export.json").read_text()) for path in (workdir, whole)]
    assert of_both[0]["class_names"] == of_both[1]["class_names"]
    results = [json.loads((path / "transfer/result.json").read_text()) for path in (workdir, whole)]
    assert results[0]["protocols"]["few_shot"] == results[1]["protocols"]["few_shot"]
    unfinished = [path for path in workdir.rglob(".*") if path.name != ".lock"]
    assert not unfinished and not list(workdir.rglob("*_temp"))


def test_kills_in_any_stage(options, whole, tmp_path, seed):
    generator = random.Random(seed)
    workdir, output = tmp_path / "run", tmp_path / "output"
    for _ in range(2):
        process = start([*options, f"--workdir={workdir}"], output)
        wait_for(generator.choice(STAGES), workdir, process)
        time.sleep(generator.random() * 0.05)
        process.kill()
        process.wait()
    status = finish(start([*options, f"--workdir={workdir}"], output))
    assert status == 0, output.read_text()
    assert_quiet(output)
    assert_as_if_left_alone(workdir, whole)


@pytest.mark.long
def test_signals_in_any_stage(options, whole, tmp_path, seed):
    generator = random.Random(100 + seed)
    workdir, output = tmp_path / "run", tmp_path / "output"
    process = start([*options, f"--workdir={workdir}"], output)
    stage = generator.choice(STAGES)
    wait_for(stage, workdir, process)
    time.sleep(generator.random() * 0.05)
    sent = generator.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    if process.poll() is None:
        os.kill(process.pid, sent)
    status = finish(process, 100)
    # 0: it came after the last moment in which it could change anything.
    assert status in (0, 128 + sent), f"{stage}, {sent}: {status}\n{output.read_text()}"
    assert "Traceback" not in output.read_text(), output.read_text()
    assert not list(workdir.glob(".export-*"))
    status = finish(start([*options, f"--workdir={workdir}"], output))
    assert status == 0, output.read_text()
    assert_as_if_left_alone(workdir, whole)
