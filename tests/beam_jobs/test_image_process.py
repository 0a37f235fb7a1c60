import os
import signal
import threading

import pytest
from beam_corpus import encoded, picture

from beam_jobs.images.image_check import Limits, Reason, Rejected, check
from beam_jobs.images.image_process import ImageProcess


@pytest.fixture
def images():
    process = ImageProcess(Limits(min_size=10), timeout_s=1.0)
    yield process
    process.close()


def test_answers_as_the_check_itself(images):
    for image in (encoded(picture()), encoded(picture(), "GIF"), encoded(picture(), "WEBP")):
        assert images.check(image) == check(image, Limits())
    with pytest.raises(Rejected) as caught:
        images.check(encoded(picture(size=(9, 9))))
    assert (caught.value.reason, caught.value.detail) == (Reason.TOO_SMALL, "9×9")


def test_an_image_larger_than_the_pipe(images):
    large = encoded(picture(size=(1500, 1500)), "BMP")
    assert len(large) > 4_000_000
    assert images.check(large).width == 1500


GOOD = encoded(picture())


def test_a_hang_costs_one_image(images):
    images.check(GOOD)
    os.kill(images._child.pid, signal.SIGSTOP)
    with pytest.raises(Rejected) as caught:
        images.check(GOOD)
    assert caught.value.reason == Reason.TIMEOUT
    assert images.check(GOOD).encoded is None  # in a fresh process


def test_a_decoder_that_was_killed_costs_nothing(images):
    images.check(GOOD)
    os.kill(images._child.pid, signal.SIGSTOP)  # so that the kill comes in the middle
    threading.Timer(0.2, os.kill, (images._child.pid, signal.SIGKILL)).start()
    assert images.check(GOOD).encoded is None


def test_a_crash_costs_one_image(images, monkeypatch):
    start = images._running

    def start_and_crash():
        child = start()
        os.kill(child.pid, signal.SIGSEGV)
        return child

    monkeypatch.setattr(images, "_running", start_and_crash)
    with pytest.raises(Rejected) as caught:
        images.check(GOOD)
    assert (caught.value.reason, caught.value.detail) == (Reason.DECODER_CRASH, "signal 11")
    monkeypatch.undo()
    assert images.check(GOOD).encoded is None


def test_the_decoder_ends_with_its_owner(images):
    images.check(encoded(picture()))
    child = images._child
    assert child is not None
    child.stdin.close()  # what the kernel does when the owner is killed
    assert child.wait(10) == 0
