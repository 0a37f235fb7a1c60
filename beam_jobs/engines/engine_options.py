"""The options that say where a job runs."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(kw_only=True)
class EngineOptions:
    """Where the job runs. The output does not depend on it."""

    TAKES_OPTIONS: ClassVar[str] = "beam_args"

    runner: Literal["local", "in_process", "embed", "portable", "dask", "spark", "dataflow"] = (
        "local"
    )
    """Where the work is done. local: worker processes on this machine; in_process: all in this
    process, for debugging; embed: one worker process behind Beam's portable job service, started
    here; portable: any job service, such as Flink's job server, with --job_endpoint=HOST:PORT and
    --environment_type in --beam_args; dask: a Dask cluster, started on this machine unless
    --beam_args names one; spark: Spark on this machine, or with --spark_master=spark://HOST:PORT in
    --beam_args on a cluster; dataflow: Google Cloud, with --project, --region and --temp_location
    in --beam_args."""
    workers: int = 0
    """Worker processes of the runners local, dask and spark here; 0: one per CPU core."""
    beam_args: str = ""
    """More options for Beam's runner in one string, such as '--dask_client_address=HOST:8786'.
    Where workers run on other machines, --temp_location=gs://… is where their results come back."""
    check: bool = False
    """With --runner dataflow: build the job as it would be submitted, check that a worker could
    load it, print what would run where, and submit nothing."""

    @property
    def num_workers(self) -> int:
        """Worker processes that will run."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def beam_arguments(self) -> list[str]:
        """`beam_args` as a list."""
        return shlex.split(self.beam_args)

    def describe(self) -> str:
        """Where the job runs, for people."""
        if self.runner == "in_process":
            return "in this process"
        if self.runner != "local":
            return f"on Beam's {self.runner} runner" if self.runner != "spark" else "on Spark"
        return f"{self.num_workers} worker processes" if self.num_workers > 1 else "1 worker"
