"""Stopping between two steps when the user or the machine asks for it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

import tensorflow as tf

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STEPS_BETWEEN_AGREEMENTS = 10


class StopSignal:
    """Context in which Ctrl-C, SIGTERM and SIGHUP set `received` instead of ending the process.

    The second Ctrl-C ends it at once. A SIGHUP that is ignored, as under nohup, stays so.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._next_agreement = 0  # step
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as shells report it: 130 for Ctrl-C, 143 for SIGTERM,
        129 for SIGHUP."""
        return 128 + self.received if self.received else 0

    def agreed(self, strategy: tf.distribute.Strategy, step: int) -> bool:
        """Whether to stop before the step that follows `step` finished ones.

        Several workers agree on the step, or the others would wait for the one that stopped. They
        ask each other every few steps only, for it costs an all-reduce. What one of them received
        then counts as received by all, so that all end with the same status.
        """
        if strategy.extended._in_multi_worker_mode():
            if step < self._next_agreement:
                return False
            self._next_agreement = step + STEPS_BETWEEN_AGREEMENTS
            own = tf.constant([int(self.received == number) for number in SIGNALS])
            counts = _sum_over_replicas(strategy, own).numpy()
            if not counts.any():
                return False
            self.received = SIGNALS[counts.argmax()]
        return self.received is not None

    def __enter__(self) -> StopSignal:
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


def _sum(strategy: tf.distribute.Strategy, flags: tf.Tensor) -> tf.Tensor:
    return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: flags), axis=None)


_sum_over_replicas = tf.function(_sum)
