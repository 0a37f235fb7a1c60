"""How a job begins and ends as a process.

Nothing here imports Apache Beam: help and argument errors answer at once.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from beam_jobs.engines.logs import quiet_beam
from groundwork.errors import UserError

JOB_FAILED = 1


def run_main(module: str) -> NoReturn:
    """Run a job's `main` and leave the process; the user's errors become one line on stderr.

    The module is imported by its name, also where it is what `python -m` runs: Beam's workers would
    not find what is defined in `__main__`.

    Exit status: 0 done, 1 the job failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM. The process is left
    at once, since threads of a runner that was stopped midway may never end.
    """
    signal.signal(signal.SIGTERM, _terminate)
    quiet_beam()
    status = 0
    try:
        importlib.import_module(module).main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print("stopped: the same command goes on where it was", file=sys.stderr)
        status = 128 + signal.SIGINT
    except _Terminated:
        print("terminated: the same command goes on where it was", file=sys.stderr)
        status = 128 + signal.SIGTERM
    except SystemExit as end:  # --help
        status = end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os._exit(0)
    except Exception:  # a defect of ours: the traceback is what helps
        import traceback

        traceback.print_exc()
        status = JOB_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Terminated(SystemExit):
    """SIGTERM came."""


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(128 + signum)
