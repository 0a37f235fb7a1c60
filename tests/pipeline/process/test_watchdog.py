"""A process that gets stuck ends, and says where."""

from __future__ import annotations

import subprocess
import sys
import time

from dataset_folders import REPOSITORY

from pipeline.process.watchdog import Watchdog

STUCK = """
import time
from pipeline.process.watchdog import Watchdog
with Watchdog(0.3, "worker 1") as watchdog:
    for step in range(4):
        watchdog.at(f"step {step}")
        time.sleep(0.2)
    time.sleep(60)
"""


def test_it_ends_a_process_that_stays_in_one_place():
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", STUCK],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ended.returncode == 75
    assert ended.stderr.startswith("error: worker 1: no step for 0.3 s, in step 3: start all")
    assert ended.stderr.count("\n") == 1
    assert time.monotonic() - started < 30


def test_one_that_gets_on_and_one_that_is_off_do_not_end():
    for seconds in (0.2, None):
        with Watchdog(seconds, "worker 0") as watchdog:
            for step in range(3 if seconds else 1):
                time.sleep(0.1)
                watchdog.at(f"step {step}")
    time.sleep(0.4)  # and after the end nobody watches
