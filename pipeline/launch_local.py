"""Train with several worker processes on this machine: `python -m pipeline.launch_local --help`.

To try and to test what several machines do. What follows `--` are the options of
`python -m pipeline.pretrain`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.data.dataset.prepare_source import prepare_source
from pipeline.process.worker_group import WorkerGroup
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import DEFAULT_RECIPE, PretrainConfig

PROG = "python -m pipeline.launch_local"


@dataclass
class LaunchConfig:
    """Train with several worker processes on this machine; give the options of
    `python -m pipeline.pretrain` after `--`."""

    workers: int = 2
    """Worker processes. GPUs are dealt out evenly among them."""
    show_all: bool = False
    """Show the output of all workers, not of the first alone."""
    restarts: int = 0
    """How often to start all workers again where one was killed or lost, or ended with exit status
    75, as by --stall_timeout. They go on from the newest checkpoint."""
    grace_seconds: float = 20.0
    """Time for the others to end after one has failed, before they are killed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: the first worker's that failed, or 0."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    launch = command_line.parse(LaunchConfig, arguments[:split], prog=PROG)
    if launch.workers < 1:
        raise UserError(f"workers is {launch.workers}: it must be at least 1")
    if launch.restarts < 0:
        raise UserError(f"restarts is {launch.restarts}: it must not be negative")
    if launch.grace_seconds < 0:
        raise UserError(f"grace_seconds is {launch.grace_seconds}: it must not be negative")
    options = arguments[split + 1 :]
    config = command_line.parse(
        PretrainConfig, options, prog="python -m pipeline.pretrain", default_config=DEFAULT_RECIPE
    )
    if config.workers is not None or config.strategy not in ("auto", "multi_worker"):
        raise UserError("launch_local sets strategy, workers and worker_index itself: leave them")
    check_run_config(config)
    prepare_source(config.data.source, config.data.prepare)
    environments = worker_environments(os.environ, launch.workers, _gpus(os.environ))
    for restart in range(launch.restarts + 1):
        if restart:
            print(f"restart {restart} of {launch.restarts}", flush=True)
        group = WorkerGroup(
            _commands(options, launch.workers),
            environments,
            grace_seconds=launch.grace_seconds,
            show_all=launch.show_all,
        )
        status = group.run()
        if not group.may_restart:
            break
    return status


def _commands(options: Sequence[str], workers: int) -> list[list[str]]:
    """The command of each worker, on ports that are free now."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(workers))
    command = [sys.executable, "-m", "pipeline.pretrain", *options]
    command += ["--strategy", "multi_worker", "--workers", addresses]
    return [[*command, "--worker_index", str(index)] for index in range(workers)]


def worker_environments(
    environment: Mapping[str, str], workers: int, gpus: Sequence[str]
) -> list[dict[str, str]]:
    """Environment of each worker: no cluster but the one launched here, and its share of the GPUs.

    Raises:
        UserError: there are fewer GPUs than workers, but not none.
    """
    plain = {name: value for name, value in environment.items() if name != "TF_CONFIG"}
    if gpus and len(gpus) < workers:
        raise UserError(
            f"{workers} workers cannot share {len(gpus)} GPU{'s' * (len(gpus) > 1)}: choose "
            f'--workers {len(gpus)}, or CUDA_VISIBLE_DEVICES="" to train on the CPU'
        )
    share = len(gpus) // workers
    if not share:
        return [plain] * workers
    return [
        plain | {"CUDA_VISIBLE_DEVICES": ",".join(gpus[i * share : (i + 1) * share])}
        for i in range(workers)
    ]


def _gpus(environment: Mapping[str, str]) -> list[str]:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    files = Path("/dev").glob("nvidia[0-9]*")
    return [str(index) for index, _ in enumerate(files)]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listened on a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


if __name__ == "__main__":
    command_line.run_main(main)
