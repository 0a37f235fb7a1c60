"""The worker processes of a local run, forked from one that has imported Beam.

`engine` starts `python -m beam_jobs.engines.local_worker FOLDER`. It imports Beam, which takes
longer than all else that a worker does before its first image, and forks a worker for each line on
its stdin: the environment variables of Beam's worker as a JSON object. The stdin is also what ties
the processes to their job: however the job ends, the pipe closes and they end too.
"""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from beam_jobs.engines import progress
from beam_jobs.engines.logs import quiet_beam

_GONE_S = 0.3

PID_PREFIX = "worker-"
"""Of a file in FOLDER for each of these processes, gone once it has ended well."""


def main() -> None:
    """Fork workers until stdin closes."""
    job = os.getppid()
    pid_file = _pid_file()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the job, which ends its workers
    quiet_beam()
    from apache_beam.runners.worker import sdk_worker_main  # noqa: F401

    gc.freeze()  # a collection that touched what was imported would copy it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies: a worker that died is gone
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _work(json.loads(line))
            os._exit(0)
    pid_file.unlink(missing_ok=True)
    # A job that was killed cannot tidy up, and copies of tars may be large. Its pipe closes just
    # before it is gone, and its workers may write until they are.
    folder = Path(sys.argv[1])
    deadline = time.monotonic() + _GONE_S
    while folder.exists() and time.monotonic() < deadline:
        if os.getppid() != job:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def _work(variables: dict[str, str]) -> None:
    """Be a worker until the job is done with it."""
    from apache_beam.runners.worker import sdk_worker_main

    pid_file = _pid_file()
    threading.Thread(target=_end_with_the_job, daemon=True).start()
    os.environ |= variables | {progress.FOLDER_VARIABLE: sys.argv[1]}
    sdk_worker_main.main([])
    pid_file.unlink(missing_ok=True)


def _pid_file() -> Path:
    path = Path(sys.argv[1]) / f"{PID_PREFIX}{os.getpid()}"
    path.touch()
    return path


def _end_with_the_job() -> None:
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)  # nothing but that the other end is closed
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
