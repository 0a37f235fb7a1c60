"""The command in a process of its own, as users start it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def start(options: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start the command; what it prints goes to the file `output`."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # of the tests: users have set none
    command = [sys.executable, "-m", "pipeline.pretrain", "--config={}", *options]
    with output.open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)


def assert_quiet(output: Path) -> None:
    """No line that is not ours: of TensorFlow's logger, of Python's warnings."""
    text = output.read_text()
    noise = re.findall(
        r"^(?:[IWEF]\d{4} |WARNING|.*Warning:|.*valid node name).*", text, re.MULTILINE
    )
    assert not noise, noise


def finish(process: subprocess.Popen[bytes], seconds: float = 300) -> int:
    """Wait for the command; its exit status, that of a signal negative."""
    try:
        return process.wait(seconds)
    finally:
        process.kill()
