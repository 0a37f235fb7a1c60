"""The options that say where a job runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(kw_only=True)
class EngineOptions:
    """Where the job runs. The output does not depend on it."""

    TAKES_OPTIONS: ClassVar[str] = "beam_args"

    runner: Literal["local", "in_process", "embed", "portable", "dask", "dataflow"] = "local"
    """Where the work is done. local: worker processes on this machine; in_process: all in this
    process, for debugging; embed: one worker process behind Beam's portable job service, started
    here; portable: any job service, such as Flink's or Spark's job server, with
    --job_endpoint=HOST:PORT and --environment_type in --beam_args; dask: a Dask cluster, started on
    this machine unless --beam_args names one; dataflow: Google Cloud, with --project, --region and
    --temp_location in --beam_args."""
    workers: int = 0
    """Worker processes of the runners local and dask; 0: one per CPU core."""
    beam_args: str = ""
    """More options for Beam's runner in one string, such as '--dask_client_address=HOST:8786'."""
    check: bool = False
    """With --runner dataflow: build the job as it would be submitted, check that a worker could
    load it, print what would run where, and submit nothing."""

    @property
    def num_workers(self) -> int:
        """Worker processes that will run."""
        return self.workers or len(os.sched_getaffinity(0))

    def describe(self) -> str:
        """Where the job runs, for people."""
        if self.runner == "in_process":
            return "in this process"
        if self.runner != "local":
            return f"on Beam's {self.runner} runner"
        return f"{self.num_workers} worker processes" if self.num_workers > 1 else "1 worker"
