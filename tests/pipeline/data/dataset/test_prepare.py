"""Making a dataset folder that is not there yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dataset_folders import REPOSITORY

from groundwork.errors import UserError
from pipeline.data.dataset.prepare_source import prepare_source


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


@pytest.mark.parametrize("command", ["this", "os.path", "beam_jobs", "beam_jobs/../x", "-c pass"])
def test_only_jobs_of_beam_jobs_are_run(tmp_path, command):
    """A recipe from elsewhere must not choose the module that runs."""
    with pytest.raises(UserError, match="it runs jobs of beam_jobs alone"):
        prepare_source(str(tmp_path / "x"), command)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the child, and /proc lists it")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_ending_the_parent_ends_the_job(tmp_path, sent):
    """The child, here a job of an hour, must not go on unwatched."""
    code = (
        "from pipeline.data.dataset.prepare_source import prepare_source\n"
        "prepare_source('glyphs', 'beam_jobs.render_glyphs --output glyphs --per_class 100000')"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while not (child := children.read_text().split()):
        time.sleep(0.05)
    time.sleep(0.5)  # the child has asked to be ended with its parent
    parent.send_signal(sent)
    status = parent.wait(timeout=20)
    assert status == (-signal.SIGKILL if sent == signal.SIGKILL else 128 + sent)
    with pytest.raises(ProcessLookupError):
        for _ in range(400):
            os.kill(int(child[0]), 0)
            time.sleep(0.05)
