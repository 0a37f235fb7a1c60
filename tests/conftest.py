"""What all tests need of the process they run in."""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
from collections.abc import Iterator

import pytest
from browser import browser  # noqa: F401

from pipeline.process.tensorflow_startup import prefer_onednn

pytest_plugins = ["loopback"]

prefer_onednn()  # as every command, and before any test imports TensorFlow


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, and nohup any with SIGHUP, which their
    # children inherit: tests that stop a child would then wait for ever.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    # What the imports hold stays anyway: without it, a collection takes no time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def free_memory() -> Iterator[None]:
    """Give graphs, models and what the allocator kept of them back after each file of tests."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
