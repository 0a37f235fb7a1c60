"""What all tests need of the process they run in."""

from __future__ import annotations

import signal

from pipeline.tensorflow_startup import prefer_onednn

pytest_plugins = ["loopback"]

prefer_onednn()  # as every command, and before any test imports TensorFlow


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, which their children inherit: tests that
    # interrupt a child would then wait for ever.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
