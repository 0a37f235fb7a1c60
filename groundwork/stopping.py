"""How a command ends when it is told to: cleaning up behind itself, with the signal's status."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

TERMINATING = (signal.SIGTERM, signal.SIGHUP)
"""Sent by a machine that goes down or a scheduler, and by a terminal that is closed."""


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise SystemExit of 128 + their number.

    As Ctrl-C does by its KeyboardInterrupt, so that what is unfinished is cleaned up on the way
    out. A SIGHUP that is ignored, as under nohup, stays so.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.getsignal(number) for number in TERMINATING}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
