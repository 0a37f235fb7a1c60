"""Where a long job stands: one line that rewrites itself, or rows in a log file."""

from __future__ import annotations

import sys
import time
from typing import TextIO

BAR_WIDTH = 24
LOG_SECONDS = 15.0
TERMINAL_SECONDS = 0.2


class Progress:
    """Progress towards `total` units, with an ETA from this process's own speed."""

    def __init__(self, label: str, total: int, done: int = 0, stream: TextIO | None = None):
        """Start at `done` of `total`; `stream` is standard error unless given."""
        self._label = label
        self._total = total
        self._first = done
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._started = time.monotonic()
        self._shown = -float("inf")
        self._last = ""

    def update(self, done: int, detail: str = "") -> None:
        """Show that `done` units are finished, unless a line was shown a moment ago."""
        self._last = self._line(done, detail)
        interval = TERMINAL_SECONDS if self._terminal else LOG_SECONDS
        if done >= self._total or time.monotonic() - self._shown >= interval:
            self._show()

    def restart(self, done: int) -> None:
        """Count the speed from `done` units and from now on: what was before is no guide."""
        self._first = done
        self._started = time.monotonic()

    def eta_seconds(self, done: int) -> float | None:
        """Seconds to the end, by the speed so far; None before there is one."""
        if done <= self._first:
            return None
        elapsed = time.monotonic() - self._started
        return elapsed / (done - self._first) * (self._total - done)

    def note(self, text: str) -> None:
        """Print `text` as a line of its own."""
        print(f"\r{text}\x1b[K" if self._terminal else text, file=self._stream, flush=True)

    def close(self) -> None:
        """Show the last line and end it."""
        if self._last:
            self._show()
        if self._terminal:
            print(file=self._stream)

    def _show(self) -> None:
        if self._terminal:
            print(f"\r{self._last}\x1b[K", end="", file=self._stream, flush=True)
        else:
            print(self._last, file=self._stream, flush=True)
        self._last = ""
        self._shown = time.monotonic()

    def _line(self, done: int, detail: str) -> str:
        remaining = self.eta_seconds(done)
        eta = "--:--" if remaining is None else format_seconds(remaining)
        filled = BAR_WIDTH * done // max(1, self._total)
        bar = "█" * filled + "·" * (BAR_WIDTH - filled)
        return f"{self._label} {bar} {done}/{self._total} · ETA {eta}{' · ' * bool(detail)}{detail}"


def format_seconds(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
