"""Progress on a terminal and in a log file."""

from __future__ import annotations

import io
import time

from groundwork.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_whole_lines_and_always_the_last():
    stream = io.StringIO()
    progress = Progress("training", 100, stream=stream)
    for done in range(1, 101):
        progress.update(done, f"loss {done}")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and "\r" not in stream.getvalue()
    assert "1/100 · ETA" in lines[0]
    assert "100/100 · ETA 00:00, loss 100" in lines[1]


def test_a_terminal_gets_one_line_that_rewrites_itself():
    stream = Terminal()
    progress = Progress("training", 2, stream=stream)
    progress.update(1)
    progress.note("saved")
    progress.update(2, "loss 1")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert "saved" in stream.getvalue() and lines[-1].endswith("2/2 · ETA 00:00, loss 1")


def test_a_resumed_job_counts_its_own_speed_only(monkeypatch):
    progress = Progress("training", 100, done=90, stream=io.StringIO())
    assert progress.eta_seconds(90) is None
    progress.restart(90)
    time.sleep(0.1)
    eta = progress.eta_seconds(95)
    assert eta is not None and 0.05 < eta < 0.09 * 5  # five in a tenth of a second, five to go
