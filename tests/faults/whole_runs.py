"""The command in a process of its own, as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def start(options: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start the command; what it prints goes to the file `output`."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "pipeline.pretrain", "--config={}", *options]
    with output.open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)


def finish(process: subprocess.Popen[bytes], seconds: float = 300) -> int:
    """Wait for the command; its exit status, that of a signal negative."""
    try:
        return process.wait(seconds)
    finally:
        process.kill()
