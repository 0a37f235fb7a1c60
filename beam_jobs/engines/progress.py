"""Live progress of a local run: workers leave their counts in files, the job adds them up.

Beam's own counters reach the job only with the end of a bundle, and a local run has one bundle per
worker. On a cluster nothing is written: its own pages show the counters.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tqdm import tqdm

FOLDER_VARIABLE = "BEAM_JOBS_PROGRESS"
"""Environment variable that names the folder of counts, set by a local run for its workers."""
_INTERVAL_S = 0.5
_LINE_INTERVAL_S = 10.0

_counts: Counter[str] = Counter()
_last_written = 0.0


def add(**counts: int) -> None:
    """Count what this process did, such as `add(done=1)`."""
    global _last_written  # noqa: PLW0603 - one count per process is what this is
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    _counts.update(counts)
    now = time.monotonic()
    if now - _last_written >= _INTERVAL_S:
        _last_written = now
        path = Path(folder) / f"counts-{os.getpid()}"
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(FileNotFoundError):  # the job has ended: nobody looks any more
            temporary.write_text(json.dumps(_counts))
            temporary.rename(path)


def reset() -> None:
    """Begin to count anew: the process starts another run."""
    global _last_written  # noqa: PLW0603
    _counts.clear()
    _last_written = 0.0


class Bar:
    """Progress over the counts in `folder`: a bar on a terminal, otherwise a line every 10 s.

    Counts `done` and, where the corpus is still being listed, a growing `total`.
    """

    def __init__(self, folder: Path, unit: str, total: int | None) -> None:
        self._folder = folder
        self._known_total = total
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit=f" {unit}",
            dynamic_ncols=True,
            smoothing=0.05,
            leave=False,
            # off a terminal tqdm only does the arithmetic
            file=sys.stderr if self._terminal else io.StringIO(),
        )
        self._last_line = time.monotonic()

    def update(self) -> None:
        """Show the counts as they stand."""
        counts: Counter[str] = Counter()
        for path in self._folder.glob("counts-*[0-9]"):
            counts.update(json.loads(path.read_text()))
        if self._known_total is None and counts["total"]:
            self._bar.total = counts["total"]
        self._bar.update(counts["done"] - self._bar.n)
        if not self._terminal and time.monotonic() - self._last_line >= _LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            print(self._bar, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
