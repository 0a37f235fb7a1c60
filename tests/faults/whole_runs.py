"""The command in a process of its own, which is forked from one that has imported TensorFlow."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

PROG = "python -m pipeline.pretrain"

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["pipeline.run.run_stages", "pipeline.process.interruptible", "whole_runs"]
)


def start(options: list[str], output: Path) -> BaseProcess:
    """Start the command; what it prints goes to the file `output`."""
    process = processes.Process(target=_run, args=(options, str(output)))
    process.start()
    return process


def finish(process: BaseProcess, seconds: float = 300) -> int:
    """Wait for the command; its exit status, that of a signal negative."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError(f"the command did not end in {seconds} s")
    assert process.exitcode is not None
    return process.exitcode


def _run(options: list[str], output: str) -> None:
    from groundwork import command_line
    from pipeline.process.interruptible import run_and_leave
    from pipeline.recipe.check_run_config import check_run_config
    from pipeline.recipe.run_config import PretrainConfig
    from pipeline.run.run_stages import run

    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)

    def main() -> int:
        config = command_line.parse(PretrainConfig, ["--config={}", *options], prog=PROG)
        check_run_config(config)
        return run_and_leave(lambda: run(config))

    command_line.run_main(main)
