"""Run another command of the project as a child process that ends with this one."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence

from groundwork.stopping import exit_on_signals

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def run_module(module: str, arguments: Sequence[str] = ()) -> int:
    """Run `python -m module arguments` and wait for it; returns its exit status.

    A child that a signal killed gives 128 + the signal's number, as shells report it. Where this
    process is told to end (Ctrl-C, SIGTERM, SIGHUP), the child is told too, and waited for: it may
    have a checkpoint to save.
    """
    command = [sys.executable, "-m", module, *arguments]
    # end_with_parent takes no lock, which is what makes preexec_fn unsafe among threads.
    with (
        subprocess.Popen(command, preexec_fn=end_with_parent) as child,  # noqa: PLW1509
        exit_on_signals(),
    ):
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    return 128 - status if status < 0 else status


def end_with_parent() -> None:
    """In the child: be terminated when the parent is gone, were it by `kill -9` (Linux alone)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
