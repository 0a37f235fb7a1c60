"""Check images in a process of their own, so that a decoder's crash or hang costs one image."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from beam_jobs.images.image_check import Checked, Limits, Reason, Rejected
from beam_jobs.images.image_child import ANSWER, ENCODED, REJECTED, REQUEST

_PIPE_BYTES = 1 << 20
_START_S = 60.0
"""A fresh process may take this much longer for its first image: a loaded machine starts slowly."""
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])


class _DecoderDied(Exception):
    """The process ended in the middle of an image."""


class ImageProcess:
    """Checks images as `image_check.check` does. Close it after use.

    Args:
        limits: what is acceptable.
        timeout_s: seconds that one image may take.
    """

    def __init__(self, limits: Limits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._fresh = True

    def check(self, data: bytes) -> Checked:
        """Check one encoded image.

        A process that dies gets a second try: something else may have killed it.

        Raises:
            Rejected: it is not good, took too long, or crashed the decoder twice.
        """
        try:
            return self._check(data)
        except _DecoderDied:
            pass
        try:
            return self._check(data)
        except _DecoderDied as died:
            raise Rejected(Reason.DECODER_CRASH, str(died)) from None

    def _check(self, data: bytes) -> Checked:
        child = self._running()
        deadline = time.monotonic() + self._timeout_s + (_START_S if self._fresh else 0)
        try:
            self._send(child, data, deadline)
            status, width, height, length = ANSWER.unpack(
                self._receive(child, ANSWER.size, deadline)
            )
            payload = self._receive(child, length, deadline) if length else b""
        except TimeoutError:
            self.close()
            raise Rejected(Reason.TIMEOUT, f"more than {self._timeout_s:g} s") from None
        except (EOFError, BrokenPipeError):
            raise _DecoderDied(self._how_it_ended()) from None
        self._fresh = False
        if status == REJECTED:
            reason, _, detail = payload.decode().partition(" ")
            raise Rejected(Reason(reason), detail)
        return Checked(width, height, payload if status == ENCODED else None)

    def close(self) -> None:
        """End the process."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._child = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            search_path = (_PACKAGE_FOLDER, os.environ.get("PYTHONPATH", ""))
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "beam_jobs.images.image_child",
                    json.dumps(asdict(self._limits)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders' warnings, which say nothing of the file
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search_path))},
                bufsize=0,
            )
            self._fresh = True
            _prepare(self._child)
        return self._child

    def _how_it_ended(self) -> str:
        assert self._child is not None
        status = self._child.wait()
        self.close()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    @staticmethod
    def _send(child: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
        assert child.stdin is not None
        descriptor = child.stdin.fileno()
        for part in (memoryview(REQUEST.pack(len(data))), memoryview(data)):
            left = part
            while left:
                _wait(descriptor, select.POLLOUT, deadline)
                left = left[os.write(descriptor, left) :]

    @staticmethod
    def _receive(child: subprocess.Popen[bytes], length: int, deadline: float) -> bytes:
        assert child.stdout is not None
        descriptor = child.stdout.fileno()
        parts = []
        while length:
            _wait(descriptor, select.POLLIN, deadline)
            part = os.read(descriptor, min(length, _PIPE_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def _prepare(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    # so that a write takes what fits and returns, and the deadline is seen
    os.set_blocking(child.stdin.fileno(), False)
    with contextlib.suppress(OSError, AttributeError):  # Linux only; a larger pipe is only faster
        fcntl.fcntl(child.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
