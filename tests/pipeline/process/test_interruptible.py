"""Waits that a signal ends, though TensorFlow itself hears none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf

from pipeline.process.interruptible import InterruptibleIterator, Stopped, StoppedMidway
from pipeline.process.stop_signal import StopSignal


def send_soon(number, seconds=0.3):
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


@pytest.fixture
def stalled(tmp_path):
    """A dataset whose second element never comes: TensorFlow waits for a pipe to be opened."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    first = tf.data.Dataset.from_tensors(b"first")
    yield first.concatenate(tf.data.TFRecordDataset(str(pipe)))
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # lets the thread go


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_for_a_batch(stalled, sent):
    with StopSignal() as stop:
        batches = InterruptibleIterator(stalled, stop, alone=True)
        assert next(batches).numpy() == b"first"
        send_soon(sent)
        started = time.monotonic()
        with pytest.raises(Stopped):
            next(batches)
        assert time.monotonic() - started < 3
        assert stop.exit_status == 128 + sent


def test_the_second_interrupt_ends_it_at_once(stalled):
    with StopSignal() as stop:
        batches = InterruptibleIterator(stalled, stop, alone=False)  # which would wait for 20 s
        next(batches)
        send_soon(signal.SIGINT)
        send_soon(signal.SIGINT, 0.6)
        with pytest.raises(KeyboardInterrupt):
            next(batches)


def test_values_come_in_order_and_errors_where_they_arise():
    def values():
        yield from range(3)
        raise OSError("the disk is gone")

    with StopSignal() as stop:
        numbers = InterruptibleIterator(values(), stop, alone=True)
        assert [next(numbers) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(numbers)
        assert list(InterruptibleIterator([4, 5], stop, alone=True)) == [4, 5]
        taken = InterruptibleIterator([4, 5, 6], stop, alone=True).run(lambda i: [next(i), next(i)])
        assert taken == [4, 5]


def test_what_takes_several_at_once_is_midway(monkeypatch, stalled):
    monkeypatch.setattr("pipeline.process.interruptible.LONG_PATIENCE_SECONDS", 0.2)
    with StopSignal() as stop:
        batches = InterruptibleIterator(stalled, stop, alone=True)
        send_soon(signal.SIGTERM)
        with pytest.raises(StoppedMidway):
            batches.run(list)


def test_a_process_ends_though_a_thread_still_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code = f"""
import sys, threading
from groundwork.command_line import run_main
from pipeline.process.interruptible import InterruptibleIterator, Stopped, run_and_leave
from pipeline.process.stop_signal import StopSignal
def values():
    yield open({str(tmp_path / "pipe")!r}).read()
def command():
    with StopSignal() as stop:
        print("waiting", flush=True)
        try:
            next(InterruptibleIterator(values(), stop, alone=True))
        except Stopped:
            print("kept")
            return stop.exit_status
run_main(lambda: run_and_leave(command))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert process.stdout.read() == "kept\n"
