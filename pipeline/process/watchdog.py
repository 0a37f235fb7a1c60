"""Ends a process that no longer gets on, and says where it stood."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

from groundwork.errors import TRY_AGAIN

POLL_SHARE = 10
"""How often in its time the watchdog looks."""
LAST_WORDS_SECONDS = 5.0
"""From the message to the end: the other workers, which wait for this one, stall at about the same
time, and have to say where they stand before they learn that it is gone."""


class Watchdog:
    """Context in which the process ends where it stays `seconds` in one place.

    It ends at once, without a checkpoint: what hangs, in a read or in a collective operation,
    would hang the way out too. Its exit status is `TRY_AGAIN`.
    """

    def __init__(self, seconds: float | None, who: str):
        """Watch `who`, such as "worker 1"; with `seconds` None, not at all."""
        self._seconds = seconds
        self._who = who
        self._place = "the start"
        self._since = time.monotonic()
        self._ended = threading.Event()

    def at(self, place: str) -> None:
        """Note that the process gets on, and what it does next: "input of step 7"."""
        self._place, self._since = place, time.monotonic()

    def __enter__(self) -> Watchdog:
        self._since = time.monotonic()
        if self._seconds is not None:
            threading.Thread(target=self._watch, args=(self._seconds,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()

    def _watch(self, seconds: float) -> None:
        while not self._ended.wait(seconds / POLL_SHARE):
            if time.monotonic() - self._since > seconds:
                print(
                    f"error: {self._who}: no step for {seconds:g} s, in {self._place}: start all "
                    "workers again; the run goes on from the newest checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                if not self._ended.wait(min(seconds, LAST_WORDS_SECONDS)):
                    sys.stdout.flush()
                    os._exit(TRY_AGAIN)
