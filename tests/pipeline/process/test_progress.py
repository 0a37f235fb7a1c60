"""Progress on a terminal and in a log file."""

from __future__ import annotations

import io

import pytest

from pipeline.process.progress import Progress, format_seconds


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
    assert "100/100 · ETA 0:00 · loss 100" in lines[1]


def test_a_terminal_gets_one_line_that_rewrites_itself():
    stream = Terminal()
    progress = Progress("training", 2, stream=stream)
    progress.update(1)
    progress.update(2)
    progress.close()
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 2


def test_a_resumed_job_counts_its_own_speed_only(monkeypatch):
    now = iter([0.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr("pipeline.process.progress.time.monotonic", lambda: next(now))
    stream = io.StringIO()
    Progress("training", 100, done=90, stream=stream).update(95)
    assert "ETA 0:10" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65, "1:05"), (3725, "1:02:05")])
def test_seconds(seconds, text):
    assert format_seconds(seconds) == text
