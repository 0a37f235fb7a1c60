"""Run the job that makes a dataset folder, where the folder does not exist yet."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from pipeline.errors import UserError

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def prepare_source(source: str, command: str | None) -> None:
    """Run `python -m command` as a child process unless the dataset folder `source` is complete.

    The command is a `beam_jobs` one: it goes on where an earlier, stopped run of it was.

    Raises:
        UserError: the job failed.
    """
    if command is None or (Path(source) / "COMPLETED").exists():
        return
    if "TF_CONFIG" in os.environ:
        raise UserError(
            f"{source} is not there yet, and several workers cannot all make it: first run "
            f"python -m {command}"
        )
    arguments = [sys.executable, "-m", *shlex.split(command)]
    print(f"{source} is not there yet; running: python -m {command}", flush=True)
    # _end_with_parent takes no lock, which is what makes preexec_fn unsafe among threads.
    with (
        subprocess.Popen(arguments, preexec_fn=_end_with_parent) as child,  # noqa: PLW1509
        _exit_on_termination(),
    ):
        try:
            status = child.wait()
        except BaseException:  # told to end: the job would write on, unwatched
            child.terminate()
            raise
    if status < 0:
        raise SystemExit(128 - status)
    if status:
        raise UserError(f"the job that makes {source} failed with exit status {status}: see above")


def _end_with_parent() -> None:
    """In the child: be terminated when the parent is gone, were it by `kill -9` (Linux alone)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _exit_on_termination() -> Iterator[None]:
    """Within it SIGTERM raises SystemExit, as Ctrl-C raises KeyboardInterrupt."""

    def exit_now(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, exit_now)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
