"""Making a dataset folder that is not there yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from groundwork.errors import UserError
from pipeline import cli
from pipeline.prepare import prepare_source


def test_the_job_runs_once_and_its_command_is_printed(tmp_path, capsys):
    folder = tmp_path / "digits"
    command = f"beam_jobs.write_digits --output {folder}"
    prepare_source(str(folder), command)
    assert f"running: python -m {command}" in capsys.readouterr().out
    assert (folder / "COMPLETED").exists()
    prepare_source(str(folder), command)
    assert capsys.readouterr().out == ""


def test_a_job_that_fails_is_an_error(tmp_path):
    with pytest.raises(UserError, match="exit status 2"):
        prepare_source(str(tmp_path / "x"), "beam_jobs.write_digits --no_such_option 1")


def test_workers_of_a_cluster_are_told_to_make_the_dataset_first(tmp_path):
    with pytest.raises(UserError, match=r"first run python -m beam_jobs.write_digits"):
        prepare_source(str(tmp_path / "x"), "beam_jobs.write_digits", workers=2)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_ending_the_parent_ends_the_job(tmp_path, sent):
    """The child, here a module that sleeps, must not go on unwatched."""
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    code = "from pipeline.prepare import prepare_source; prepare_source('nowhere', 'sleeper')"
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(cli.REPOSITORY)},
    )
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    parent.send_signal(sent)
    status = parent.wait(timeout=20)
    assert status == (128 + signal.SIGTERM if sent == signal.SIGTERM else -signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int(pid.read_text()), 0)
            time.sleep(0.05)
