"""Processes that live and die together: their output, the signals they get, how they end."""

from __future__ import annotations

import collections
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from groundwork.errors import TRY_AGAIN
from pipeline.process.child_process import end_with_parent

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLED = {number for number in signal.Signals if number not in SIGNALS}
"""What ends a process that was not asked to stop: memory that ran out, a crash, TensorFlow's own
abort where the other workers are gone."""
POLL_SECONDS = 0.1
LAST_LINES = 30


class WorkerGroup:
    """Workers on this machine.

    The first one's output is shown as it comes, each line behind its number; of the others only
    the last lines, where one fails. SIGINT, SIGTERM and SIGHUP are passed on, once each: a worker
    that gets Ctrl-C from the terminal too would take it for the second, and end without a
    checkpoint.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environments: Sequence[Mapping[str, str]],
        *,
        grace_seconds: float,
        show_all: bool = False,
    ):
        """Take the command and environment of each worker.

        Args:
            commands: of the workers.
            environments: environment variables of the workers.
            grace_seconds: time for the others to end after one has failed, before they are killed.
            show_all: show the output of all.
        """
        self._commands = commands
        self._environments = environments
        self._grace = grace_seconds
        self._show_all = show_all
        self._workers: list[subprocess.Popen[str]] = []
        self._last = [collections.deque[str](maxlen=LAST_LINES) for _ in commands]
        self._signalled = False
        self._restartable = False

    @property
    def may_restart(self) -> bool:
        """Whether a new start may help: a worker was killed, or asked for it by TRY_AGAIN."""
        return self._restartable and not self._signalled

    def run(self) -> int:
        """Start the workers and wait for all.

        Returns:
            0, or the exit status of the first that failed; 128 + its number for a signal.
        """
        with self._passing_signals_on():
            for command, environment in zip(self._commands, self._environments, strict=True):
                # A session of its own: the terminal's Ctrl-C reaches this process alone.
                worker = subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                    preexec_fn=end_with_parent,  # noqa: PLW1509 - it takes no lock
                )
                self._workers.append(worker)
            readers = [
                threading.Thread(target=self._read, args=(number,), daemon=True)
                for number in range(len(self._workers))
            ]
            for reader in readers:
                reader.start()
            try:
                status = self._wait()
            finally:
                for worker in self._workers:
                    worker.kill()
                    worker.wait()
            for reader in readers:
                reader.join(1)
        return status

    def _wait(self) -> int:
        failed: int | None = None
        deadline = float("inf")
        while any(worker.poll() is None for worker in self._workers):
            if failed is None and (failed := self._first_failed()) is not None:
                if not self._signalled:
                    self._report(failed)
                    self._send(signal.SIGTERM)
                deadline = time.monotonic() + self._grace
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        if failed is None and (failed := self._first_failed()) is not None and not self._signalled:
            self._report(failed)
        if failed is None:
            return 0
        status = _exit_status(self._workers[failed])
        self._restartable = status == TRY_AGAIN or status - 128 in KILLED
        return status

    def _first_failed(self) -> int | None:
        return next((i for i, worker in enumerate(self._workers) if worker.poll()), None)

    def _report(self, number: int) -> None:
        status = _exit_status(self._workers[number])
        time.sleep(POLL_SECONDS)  # the reader may lag behind the worker's end
        if number and not self._show_all:
            for line in self._last[number]:
                print(f"[{number}] {line}", flush=True)
        if status == TRY_AGAIN and not self._show_all:  # where do the others stand?
            for other, last in enumerate(self._last):
                if other not in (0, number) and last:
                    print(f"[{other}] {last[-1]}", flush=True)
        running = sum(worker.poll() is None for worker in self._workers)
        others = f"; stopping the other {running}" if running else ""
        print(f"worker {number} ended with exit status {status}{others}", file=sys.stderr)

    def _read(self, number: int) -> None:
        stream = self._workers[number].stdout
        assert stream is not None
        with stream:
            for line in stream:
                self._last[number].append(line.rstrip("\n"))
                if self._show_all or number == 0:
                    print(f"[{number}] {line}", end="", flush=True)

    def _send(self, number: int) -> None:
        for worker in self._workers:
            worker.send_signal(number)  # does nothing to one that has ended

    @contextlib.contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        def pass_on(number: int, frame: FrameType | None) -> None:
            self._signalled = True
            self._send(number)

        previous = {number: signal.signal(number, pass_on) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _exit_status(worker: subprocess.Popen[str]) -> int:
    status = worker.returncode
    return 128 - status if status < 0 else status
