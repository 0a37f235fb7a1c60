"""A profile of some steps, on request."""

from __future__ import annotations

import importlib.util

import tensorflow as tf

from pipeline.process.staging import staged

VIEWERS = ("xprof", "tensorboard_plugin_profile")  # the second is the older name


class ProfileWindow:
    """Records what hosts and devices do during steps `first` to `last`, for TensorBoard."""

    def __init__(self, first: int, last: int, folder: str):
        """Write to `folder`/plugins/profile; steps count from 1."""
        self._first, self._last = first, last
        self._folder = folder
        self._running = False

    def edges(self) -> tuple[int, int]:
        """The steps that must be finished, and no further one begun, when it starts and stops."""
        return self._first - 1, self._last

    def before(self, step: int) -> None:
        """Start where `step` is the first to be recorded."""
        if self._first <= step <= self._last and not self._running:
            tf.profiler.experimental.start(staged(self._folder))
            self._running = True

    def is_last(self, step: int) -> bool:
        """Whether the profile ends with `step`."""
        return self._running and step >= self._last

    def stop(self) -> str:
        """Write the profile; tells where it is and how to see it."""
        tf.profiler.experimental.stop()
        self._running = False
        missing = not any(map(importlib.util.find_spec, VIEWERS))
        return (
            f"profile of steps {self._first} to {self._last}: {self._folder}/plugins/profile"
            f"{'; to see it in TensorBoard: pip install xprof' * missing}"
        )
