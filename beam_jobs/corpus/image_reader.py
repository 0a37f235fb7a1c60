"""Read the images that entries point to.

What lies behind URLs is read ahead, by exact ranges, many at once and neighbours in a tar together:
one request each would wait for the network 50 times a second at most.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import BinaryIO, NamedTuple

from beam_jobs.corpus import tar_spool
from beam_jobs.corpus.entries import UNKNOWN_LENGTH, Entry
from beam_jobs.images.image_check import Reason, Rejected
from groundwork import storage
from groundwork.errors import StorageFault

_WINDOW_IMAGES = 1024
_WINDOW_BYTES = 32 << 20
"""Images that are read at once; as many again wait for their turn."""
_TYPICAL_BYTES = 128 << 10
"""What an image counts for whose size is known only once it is read."""


class Wanted(NamedTuple):
    """An image to read."""

    key: str
    entry: Entry
    problem: Rejected | None = None
    """Why it is not to be read."""


def read(wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, bytes | Rejected]]:
    """The bytes of each image, in the same order, or why they cannot be had.

    Raises:
        StorageFault: the storage itself fails, which says nothing of the image.
    """
    ahead: deque[tuple[list[Wanted], Future[dict[int, bytes | Rejected]]]] = deque()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        local = _LocalFiles(stack)
        for window in _windows(wanted):
            ahead.append((window, pool.submit(_fetch, window)))
            if len(ahead) == 2:
                yield from _in_order(*ahead.popleft(), local)
        while ahead:
            yield from _in_order(*ahead.popleft(), local)


def _in_order(
    window: list[Wanted], fetched: Future[dict[int, bytes | Rejected]], local: _LocalFiles
) -> Iterator[tuple[Wanted, bytes | Rejected]]:
    found = fetched.result()
    for number, image in enumerate(window):
        if image.problem is not None:
            yield image, image.problem
        else:
            # taken out: it is not kept until its window ends
            data = found.pop(number, None)
            yield image, local.read(image.entry) if data is None else data


def _windows(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    window: list[Wanted] = []
    size = 0
    for image in wanted:
        window.append(image)
        length = image.entry.length
        size += _TYPICAL_BYTES if length == UNKNOWN_LENGTH else length
        if len(window) == _WINDOW_IMAGES or size >= _WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _is_fetched(image: Wanted) -> bool:
    entry = image.entry
    remote = storage.is_remote(os.fsdecode(entry.path)) and not entry.problem
    return remote and image.problem is None and tar_spool.local_copy(entry.path) is None


def _fetch(window: list[Wanted]) -> dict[int, bytes | Rejected]:
    """The images behind URLs, by their number in the window."""
    numbers = [number for number, image in enumerate(window) if _is_fetched(image)]
    parts = [_part(window[number].entry) for number in numbers]
    found = storage.read_parts(parts)
    return {
        number: _unreadable(data) if isinstance(data, OSError) else data
        for number, data in zip(numbers, found, strict=True)
    }


def _part(entry: Entry) -> storage.Part:
    whole = entry.length == UNKNOWN_LENGTH
    return storage.Part(os.fsdecode(entry.path), entry.offset, None if whole else entry.length)


def _unreadable(error: OSError) -> Rejected:
    return Rejected(Reason.UNREADABLE, error.strerror or str(error))


class _LocalFiles:
    """Reads local files; keeps the last one open, since a tar holds many images."""

    def __init__(self, stack: ExitStack) -> None:
        stack.callback(self._close)
        self._path: bytes | None = None
        self._file: BinaryIO | None = None

    def read(self, entry: Entry) -> bytes | Rejected:
        """The bytes of an image, or why they cannot be read."""
        if entry.problem:
            return Rejected(Reason.UNREADABLE, entry.problem)
        try:
            if self._file is None or entry.path != self._path:
                self._close()
                self._file = open(tar_spool.local_copy(entry.path) or entry.path, "rb")  # noqa: SIM115, PTH123
                self._path = entry.path
            self._file.seek(entry.offset)
            return self._file.read(entry.length)
        except StorageFault:
            raise
        except OSError as error:
            self._close()
            return _unreadable(error)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._path = self._file = None
