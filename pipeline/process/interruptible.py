"""Waiting for input in a way that a signal can end.

Python hears signals between two of its own operations, in the main thread. A batch that never
comes, from a worker that hangs or a network disk that is gone, would keep it inside TensorFlow for
ever, deaf to SIGTERM and Ctrl-C. So another thread waits for the batch, and this one for both.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, cast

from pipeline.process.stop_signal import StopSignal

T = TypeVar("T")
R = TypeVar("R")

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 1.0
"""That a batch is waited for after a signal."""
LONG_PATIENCE_SECONDS = 20.0
"""The same where what is waited for does more: several steps, or a step of several workers, which
agree on where they stop. Schedulers kill after 30 s or more."""
THREAD = "waits for input"


class Stopped(Exception):
    """A stop was asked for, and what was waited for had not come."""


class StoppedMidway(Stopped):
    """The same, and some of what was waited for may have been done."""


class InterruptibleIterator(Generic[T]):
    """An iterator whose `next` raises Stopped where a signal comes before the value does."""

    def __init__(self, values: Iterable[T], stop: StopSignal, *, alone: bool):
        """Begin when the first value is asked for.

        Args:
            values: what to iterate over, in a thread of its own.
            stop: tells of signals.
            alone: whether this process may stop by itself: several workers stop together.
        """
        self._values = values
        self._iterator: Iterator[T] | None = None
        self._stop = stop
        self._alone = alone
        # SimpleQueue.get can wait for ever (CPython 3.11) where a signal comes as its time ends.
        self._calls: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._answers: queue.Queue[tuple[object, BaseException | None]] = queue.Queue()
        threading.Thread(target=self._work, name=THREAD, daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._alone and self._stop.received:
            raise Stopped
        patience = PATIENCE_SECONDS if self._alone else LONG_PATIENCE_SECONDS
        return self._call(next, patience)

    def run(self, function: Callable[[Iterator[T]], R]) -> R:
        """What `function` makes of the iterator; raises StoppedMidway instead of Stopped."""
        try:
            return self._call(function, LONG_PATIENCE_SECONDS)
        except Stopped as error:
            raise StoppedMidway from error

    def close(self) -> None:
        """Let the thread end, once what it waits for has come."""
        self._calls.put(None)

    def _call(self, function: Callable[[Iterator[T]], R], patience: float) -> R:
        def call() -> R:
            if self._iterator is None:
                self._iterator = iter(self._values)
            return function(self._iterator)

        self._calls.put(call)
        deadline: float | None = None
        while True:
            try:
                value, error = self._answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if self._stop.received:
                    now = time.monotonic()
                    deadline = deadline or now + patience
                    if now > deadline:
                        raise Stopped from None
                continue
            if error is not None:
                raise error
            return cast(R, value)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._answers.put((call(), None))
            except BaseException as error:  # raised where it was asked for
                self._answers.put((None, error))
            del call


def run_and_leave(command: Callable[[], int]) -> int:
    """Run a command; where input is then still waited for, leave the process at once.

    TensorFlow would wait for it at the end of the process, too.
    """
    try:
        status = command()
    except KeyboardInterrupt:
        if not _is_waiting():
            raise
        print("interrupted", file=sys.stderr)
        status = 130
    if _is_waiting():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _is_waiting() -> bool:
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(POLL_SECONDS)  # one that was closed ends by itself
            if thread.is_alive():
                return True
    return False
