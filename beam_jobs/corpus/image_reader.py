"""Read the images that entries point to.

What lies behind URLs is read ahead, by exact ranges, many at once and neighbors in a tar together:
one request each would wait for the network 50 times a second at most.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

from beam_jobs.corpus import tar_spool, unpacked, zip_source
from beam_jobs.corpus.downloads import Downloads, is_url
from beam_jobs.corpus.entries import UNKNOWN_LENGTH, Entry
from beam_jobs.images.image_check import Reason, Rejected
from groundwork import storage

_WINDOW_IMAGES = 1024
_WINDOW_BYTES = 32 << 20
"""Images that are read at once; as many again wait for their turn."""
_TYPICAL_BYTES = 128 << 10
"""What an image counts for whose size is known only once it is read."""


_Found = dict[int, bytes | Rejected]
"""What was read ahead, by the image's number in its window."""


class Wanted(NamedTuple):
    """An image to read."""

    key: str
    entry: Entry
    problem: Rejected | None = None
    """Why it is not to be read."""


def read(
    wanted: Iterable[Wanted], folder: str = "", downloads: Downloads | None = None
) -> Iterator[tuple[Wanted, bytes | Rejected]]:
    """The bytes of each image, in the same order, or why they cannot be had.

    Args:
        wanted: the images, neighbors best side by side.
        folder: the dataset folder, where the copies of what cannot be read in place lie.
        downloads: those of the images at http:// and https:// URLs.

    Raises:
        StorageFault: the storage itself fails, which says nothing of the image.
    """
    ahead: deque[tuple[list[Wanted], Future[_Found]]] = deque()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        local = _LocalFiles(stack)
        if downloads is not None:
            stack.callback(downloads.close)

        def images(window: list[Wanted], fetched: Future[_Found]) -> Iterator[bytes | Rejected]:
            found = fetched.result()
            for number, image in enumerate(window):
                # taken out: it is not kept until its window ends
                data = found.pop(number, None)
                if data is None:
                    data = _known_problem(image)
                if data is None and downloads is not None and is_url(image.entry.path):
                    data = downloads.read(image.entry)
                if data is None:
                    data = local.read(_path(image.entry, folder), image.entry)
                yield _decoded(data, image.entry)

        for window in _windows(wanted):
            ahead.append((window, pool.submit(_fetch, window, folder)))
            if len(ahead) == 2:
                yield from zip(ahead[0][0], images(*ahead.popleft()), strict=True)
        while ahead:
            yield from zip(ahead[0][0], images(*ahead.popleft()), strict=True)


def _known_problem(image: Wanted) -> Rejected | None:
    if image.problem is not None or not image.entry.problem:
        return image.problem
    lost = Reason.DAMAGED_ARCHIVE if image.entry.missing else Reason.UNREADABLE
    return Rejected(lost, image.entry.problem)


def _path(entry: Entry, folder: str) -> str:
    if entry.codec == unpacked.CODEC:
        return unpacked.location(folder, entry.path)
    path = os.fsdecode(entry.path)
    return tar_spool.local_copy(path) or path


def _decoded(data: bytes | Rejected, entry: Entry) -> bytes | Rejected:
    if isinstance(data, Rejected) or entry.codec != zip_source.CODEC:
        return data
    try:
        return zip_source.inflate(data)
    except ValueError as error:
        return Rejected(Reason.CORRUPT, str(error))


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


def _fetch(window: list[Wanted], folder: str) -> _Found:
    """The images behind URLs, by their number in the window."""
    parts = {}
    for number, image in enumerate(window):
        path = _path(image.entry, folder)
        if storage.is_remote(path) and not is_url(path) and _known_problem(image) is None:
            length = image.entry.length
            whole = length == UNKNOWN_LENGTH
            parts[number] = storage.Part(path, image.entry.offset, None if whole else length)
    found = storage.read_parts(list(parts.values()))
    return {
        number: _unreadable(data) if isinstance(data, OSError) else data
        for number, data in zip(parts, found, strict=True)
    }


def _unreadable(error: OSError) -> Rejected:
    return Rejected(Reason.UNREADABLE, error.strerror or str(error))


class _LocalFiles:
    """Reads local files; keeps the last one open, since a tar holds many images."""

    def __init__(self, stack: ExitStack) -> None:
        stack.callback(self._close)
        self._path = ""
        self._file: BinaryIO | None = None

    def read(self, path: str, entry: Entry) -> bytes | Rejected:
        """The bytes of an image, or why they cannot be read."""
        try:
            if self._file is None or path != self._path:
                self._close()
                self._file = Path(path).open("rb")  # noqa: SIM115 - the next image may be in it
                self._path = path
            self._file.seek(entry.offset)
            return self._file.read(entry.length)
        except OSError as error:
            self._close()
            return _unreadable(error)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
