"""Run the job that makes a dataset folder, where the folder does not exist yet."""

from __future__ import annotations

import re
import shlex

from groundwork import storage
from groundwork.errors import UserError
from pipeline.process.child_process import run_module

JOB = re.compile(r"beam_jobs\.\w+")
KILLED = 128
"""Exit statuses above it tell the signal that ended a process."""


def prepare_source(source: str, command: str | None, workers: int = 1) -> None:
    """Run `python -m command` as a child process unless the dataset folder `source` is complete.

    The command is a `beam_jobs` one: it goes on where an earlier, stopped run of it was.

    Raises:
        UserError: `command` is no job of `beam_jobs`; the job failed; or this is one of several
            `workers`, which cannot all run it.
    """
    if command is None:
        return
    if not JOB.fullmatch(command.partition(" ")[0]):
        raise UserError(
            f"prepare is {command!r}: it runs jobs of beam_jobs alone, such as "
            "beam_jobs.build_dataset --input IMAGES --output DATASET"
        )
    if storage.exists(storage.join(source, "COMPLETED")):
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
