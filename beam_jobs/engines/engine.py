"""Where a Beam pipeline runs: worker processes on this machine, this process, or a cluster."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_jobs.engines import dataflow, local_worker, progress
from beam_jobs.engines.engine_options import EngineOptions
from beam_jobs.engines.logs import quiet_beam
from groundwork.errors import JobError, UserError

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.runners.runner import PipelineResult

_POLL_S = 0.1
_CANCEL_S = 600.0
"""That a cluster may take to end a job that was canceled."""
_ELSEWHERE = ("portable", "dataflow")
"""Runners whose work does not end with this process."""
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])
_OUR_ERROR = re.compile(r"groundwork\.errors\.(UserError|JobError|StorageFault): (.*)")


def run(
    build: Callable[[beam.Pipeline], Any],
    options: EngineOptions,
    *,
    unit: str = "images",
    total: int | None = None,
) -> None:
    """Build a pipeline with `build` and run it to its end, with a progress bar.

    Args:
        build: adds the transforms to an empty pipeline.
        options: where to run it.
        unit: what the progress bar counts.
        total: how many of them; None: as counted by `progress.add(total=…)`.

    Raises:
        UserError, JobError: as raised inside a worker.
        JobError: a worker process died.
    """
    if options.workers < 0:
        raise UserError(f"--workers {options.workers} is negative: give 0 for one per CPU core")
    if options.check:
        dataflow.check(build, options)
        return
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="beam_jobs_"))
        stack.enter_context(_progress_in(name))
        stack.enter_context(_temporary_files_in(name))
        folder = Path(name)
        failure: list[BaseException] = []
        started: list[PipelineResult] = []

        def target() -> None:
            try:
                pipeline = _pipeline(folder, options, stack)
                build(pipeline)
                started.append(pipeline.run())
                started[0].wait_until_finish()
            except BaseException as error:
                failure.append(error)

        # Beam's runner waits for ever for a worker that was killed, so it is watched from outside
        thread = threading.Thread(target=target, daemon=True)
        bar = progress.Bar(folder, unit, total)
        try:
            thread.start()
            while thread.is_alive():
                thread.join(_POLL_S)
                bar.update()
                _check_workers(folder, thread)
        except BaseException:
            # Beam's threads raise for each worker that is killed; one message is enough
            threading.excepthook = lambda _: None
            _kill_workers(folder)
            if options.runner in _ELSEWHERE:
                _cancel(thread, started)
            raise
        finally:
            bar.close()
    if failure:
        raise _readable(failure[0]) from None


def collect(
    build: Callable[[beam.Pipeline], beam.PCollection[Any]],
    options: EngineOptions,
    *,
    unit: str = "images",
    total: int | None = None,
) -> list[Any]:
    """Run a pipeline as `run` does and give the elements of the collection that `build` returns.

    They must be few enough for the memory of one process, and pickle. In no particular order.

    Raises:
        UserError: as `run`; or the workers are elsewhere and no `--temp_location` is given.
    """
    from beam_jobs.engines import results

    with results.folder(options) as place:
        run(
            lambda pipeline: results.keep(build(pipeline), place),
            options,
            unit=unit,
            total=total,
        )
        return list(results.read(place)) if not options.check else []


def _cancel(thread: threading.Thread, started: list[PipelineResult]) -> None:
    """Cancel a job that runs elsewhere and wait for its end: until then it may still write."""
    print("stopping the job, which runs elsewhere; Ctrl-C again leaves it alone", file=sys.stderr)
    while thread.is_alive() and not started:  # it is being submitted
        thread.join(_POLL_S)
    for result in started:
        with contextlib.suppress(Exception):  # it has ended, or its service is gone
            result.cancel()
    thread.join(_CANCEL_S)


@contextlib.contextmanager
def _progress_in(folder: str) -> Iterator[None]:
    """Let this process leave its counts there too: it is the worker of an in-process run."""
    os.environ[progress.FOLDER_VARIABLE] = folder
    progress.reset()
    try:
        yield
    finally:
        del os.environ[progress.FOLDER_VARIABLE]


def _pipeline(folder: Path, options: EngineOptions, stack: contextlib.ExitStack) -> beam.Pipeline:
    """An empty pipeline on the runner that the options name; `stack` ends what is started."""
    quiet_beam()
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from beam_jobs.engines import local_environment, spark

    arguments = options.beam_arguments
    arguments += ["--default_sdk_harness_log_level", "CRITICAL"]
    if options.runner == "dask":
        return _dask_pipeline(arguments, options, stack)
    if options.runner == "spark":
        return spark.pipeline(arguments, options, stack)
    if options.runner == "dataflow":
        return dataflow.pipeline(arguments)
    if options.runner in ("embed", "portable"):
        if options.runner == "embed":
            arguments += ["--job_endpoint", "embed", "--environment_type", local_environment.URN]
            stdin = _start_local_workers(folder, stack)
            arguments += ["--environment_config", str(stdin)]
        return _portable_pipeline(arguments)
    # not DirectRunner, which first tries to download another runner's binary
    workers = options.num_workers if options.runner == "local" else 1
    if workers == 1:  # a process of its own would only cost its start
        return beam.Pipeline(FnApiRunner(), PipelineOptions(arguments))
    stdin = _start_local_workers(folder, stack)
    environment = local_environment.LocalEnvironment(stdin)
    arguments += ["--direct_num_workers", str(workers)]
    return beam.Pipeline(FnApiRunner(default_environment=environment), PipelineOptions(arguments))


def _portable_pipeline(arguments: list[str]) -> beam.Pipeline:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.portable_runner import PortableRunner

    for needed in ("--job_endpoint", "--environment_type"):
        if not any(argument.partition("=")[0] == needed for argument in arguments):
            raise UserError(f"--runner portable needs {needed}=… in --beam_args")
    return beam.Pipeline(PortableRunner(), PipelineOptions(arguments))


def _start_local_workers(folder: Path, stack: contextlib.ExitStack) -> int:
    """Start `local_worker` and give its stdin; `stack` closes that, which ends all of it."""
    search_path = os.pathsep.join(filter(None, (_PACKAGE_FOLDER, os.environ.get("PYTHONPATH"))))
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "beam_jobs.engines.local_worker", str(folder)],
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": search_path},
        )
    )
    assert process.stdin is not None
    # waited for at once: a zombie would look as if it still ran
    threading.Thread(target=process.wait, daemon=True).start()
    return process.stdin.fileno()


def _dask_pipeline(
    arguments: list[str], options: EngineOptions, stack: contextlib.ExitStack
) -> beam.Pipeline:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        from apache_beam.runners.dask.dask_runner import DaskRunner
        from dask.distributed import LocalCluster
    except ImportError as error:
        raise UserError("--runner dask needs pip install 'vit-keras-pipeline[dask]'") from error
    quiet_beam()  # again: Dask sets its own levels where it is imported
    if not any(argument.startswith("--dask_") for argument in arguments):
        cluster = LocalCluster(
            n_workers=options.num_workers, threads_per_worker=1, dashboard_address=None
        )
        stack.callback(cluster.close)
        arguments += ["--dask_client_address", cluster.scheduler_address]
    return beam.Pipeline(DaskRunner(), PipelineOptions(arguments))


def _worker_pids(folder: Path) -> list[int]:
    prefix = local_worker.PID_PREFIX
    return [int(path.name.removeprefix(prefix)) for path in folder.glob(f"{prefix}*")]


def _check_workers(folder: Path, thread: threading.Thread) -> None:
    for pid in _worker_pids(folder):
        if not _is_running(pid) and thread.is_alive() and pid in _worker_pids(folder):
            raise JobError(
                f"worker process {pid} was killed (out of memory?): run the same command again, it "
                "goes on where it was, or with fewer --workers"
            )


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Have Beam's own temporary folders, which a stopped pipeline leaves behind, go with ours."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before


def _kill_workers(folder: Path) -> None:
    deadline = time.monotonic() + 5
    for pid in _worker_pids(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(map(_is_running, _worker_pids(folder))) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _readable(error: BaseException) -> BaseException:
    """What a worker raised: Beam wraps it into an error whose text holds the traceback."""
    found = _OUR_ERROR.findall(str(error))
    if isinstance(error, UserError | JobError):  # raised in this process
        kind, message = type(error).__name__, str(error)
    elif found:
        kind, message = found[-1]
    else:
        return error.with_traceback(None)
    # Beam appends the name of the transform, in a worker to the last line of the traceback
    message = re.sub(r" \[while running '.*'\].*$", "", message)
    return UserError(message) if kind == "UserError" else JobError(message)
