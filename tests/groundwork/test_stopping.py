"""Commands that are told to end clean up, and say by their status what told them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

COMMAND = """
import signal, sys, time
from groundwork.command_line import run_main
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
def main():
    try:
        print("begun", flush=True)
        time.sleep(3 if "nohup" in sys.argv else 60)
    finally:
        print("cleaned up", flush=True)
run_main(main)
"""


@pytest.mark.parametrize(
    ("sent", "arguments", "status"),
    [
        (signal.SIGINT, [], 130),
        (signal.SIGTERM, [], 143),
        (signal.SIGHUP, [], 129),
        (signal.SIGHUP, ["nohup"], 0),
    ],
)
def test_a_command_cleans_up_and_tells_the_signal(sent, arguments, status):
    command = [sys.executable, "-c", COMMAND, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(sent)
        assert process.stdout.readline() == "cleaned up\n"
        assert process.wait(20) == status
