"""A Beam worker process of a local run that never outlives its job.

`engine` starts it: `python -m beam_jobs.local_worker FOLDER JOB_PID`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from beam_jobs import progress
from beam_jobs.logs import quiet_beam

PID_PREFIX = "worker-"
_POLL_S = 0.3


def _end_with_the_job(job_pid: int) -> None:
    while os.getppid() == job_pid:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the worker until the job is done with it."""
    folder, job_pid = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the job, which ends its workers
    threading.Thread(target=_end_with_the_job, args=(job_pid,), daemon=True).start()
    os.environ[progress.FOLDER_VARIABLE] = folder
    pid_file = Path(folder) / f"{PID_PREFIX}{os.getpid()}"
    pid_file.touch()

    quiet_beam()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])
    pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
