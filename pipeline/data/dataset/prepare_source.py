"""Run the job that makes a dataset folder, where the folder does not exist yet."""

from __future__ import annotations

import shlex
from pathlib import Path

from groundwork.errors import UserError
from pipeline.process.child_process import run_module

KILLED = 128
"""Exit statuses above it tell the signal that ended a process."""


def prepare_source(source: str, command: str | None, workers: int = 1) -> None:
    """Run `python -m command` as a child process unless the dataset folder `source` is complete.

    The command is a `beam_jobs` one: it goes on where an earlier, stopped run of it was.

    Raises:
        UserError: the job failed; or this is one of several `workers`, which cannot all run it.
    """
    if command is None or (Path(source) / "COMPLETED").exists():
        return
    if workers > 1:
        raise UserError(
            f"{source} is not there yet, and several workers cannot all make it: first run "
            f"python -m {command}"
        )
    print(f"{source} is not there yet; running: python -m {command}", flush=True)
    module, *arguments = shlex.split(command)
    status = run_module(module, arguments)
    if status > KILLED:
        raise SystemExit(status)
    if status:
        raise UserError(f"the job that makes {source} failed with exit status {status}: see above")
