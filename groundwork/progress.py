"""Where a long job stands: tqdm's bar on a terminal, a whole line now and then in a log file."""

from __future__ import annotations

import io
import sys
import time
from typing import TextIO

from tqdm import tqdm

BAR_FORMAT = "{desc} {bar:24} {n_fmt}/{total_fmt} · ETA {remaining}{postfix}"
LOG_SECONDS = 15.0
TERMINAL_SECONDS = 0.2


class Progress:
    """Progress towards `total` units, with an ETA from this process's own speed."""

    def __init__(self, label: str, total: int, done: int = 0, stream: TextIO | None = None):
        """Start at `done` of `total`; `stream` is standard error unless given."""
        self._stream = stream or sys.stderr
        self._total = total
        self._terminal = self._stream.isatty()
        self._shown = -float("inf")
        self._pending = False
        self._bar = tqdm(
            desc=label,
            total=total,
            initial=done,
            bar_format=BAR_FORMAT,
            smoothing=0,  # the mean speed: a step that compiles or evaluates is no guide
            mininterval=TERMINAL_SECONDS,
            dynamic_ncols=self._terminal,
            ascii=False,  # blocks also where they go to a file
            # off a terminal tqdm does the arithmetic alone, and the lines are ours
            file=self._stream if self._terminal else io.StringIO(),
        )

    def update(self, done: int, detail: str = "") -> None:
        """Show that `done` units are finished, unless a line was shown a moment ago."""
        self._bar.set_postfix_str(detail, refresh=False)
        self._bar.update(done - self._bar.n)
        self._pending = True
        if done >= self._total or time.monotonic() - self._shown >= LOG_SECONDS:
            self._log()

    def restart(self, done: int) -> None:
        """Count the speed from `done` units and from now on: what was before is no guide."""
        self._bar.reset()
        self._bar.initial = self._bar.n = done

    def eta_seconds(self, done: int) -> float | None:
        """Seconds to the end, by the speed so far; None before there is one."""
        finished = done - self._bar.initial
        if finished <= 0:
            return None
        elapsed = float(self._bar.format_dict["elapsed"])
        return elapsed / finished * (self._total - done)

    def note(self, text: str) -> None:
        """Print `text` as a line of its own."""
        if self._terminal:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Show the last line and end it."""
        if self._pending:
            self._log()
        self._bar.close()

    def _log(self) -> None:
        if self._terminal:
            self._bar.refresh()
        else:
            print(self._bar, file=self._stream, flush=True)
        self._pending = False
        self._shown = time.monotonic()
