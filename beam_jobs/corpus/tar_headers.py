"""A remote tar as a file whose headers are read ahead, for a listing that does not wait for each.

Each header says where the next one is, so a listing asks and waits, member for member. Here several
walkers begin at places further on, look for the first block that is a header by its checksum, and
follow the chain from there. What they fetch is only kept for who reads in order: where a walker was
misled, such as by a tar within the tar, its blocks are never asked for.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from typing import Any

from groundwork import storage

HEADER_BYTES = 1600
"""What is read at once: the byte before a header, which tarfile looks at, the header, and for one
that only extends the next one, or that of a small label's member, its content and the next one."""
_SEGMENT_BYTES = 4 << 20
"""The stretch of a walker."""
_SCAN_BYTES = 32 << 10
_BLOCK = tarfile.BLOCKSIZE


class HeadersAhead(io.RawIOBase):
    """A tar behind a URL. Give it to a BufferedReader with a buffer of HEADER_BYTES."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = storage.size(path)
        self._offset = 0
        self._ahead: dict[int, bytes] = {}
        self._ahead_until = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; makes no request."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def readinto(self, buffer: Any, /) -> int:
        """Read what was fetched ahead, or with a request."""
        wanted = min(len(buffer), max(0, self._size - self._offset))
        if wanted and self._offset >= self._ahead_until:
            self._fetch_ahead()
        data = self._ahead.pop(self._offset, b"")[:wanted]
        if not data and wanted:
            data = self._fetch(self._offset, wanted)
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def _fetch(self, offset: int, length: int) -> bytes:
        (data,) = storage.read_ranges(self._path, [(offset, min(length, self._size - offset))])
        return data

    def _fetch_ahead(self) -> None:
        """Let the walkers go over the next stretches."""
        first = self._offset // _BLOCK * _BLOCK
        starts = [first + walker * _SEGMENT_BYTES for walker in range(storage.IN_FLIGHT)]
        starts = [start for start in starts if start < self._size]
        self._ahead_until = starts[-1] + _SEGMENT_BYTES
        found = storage.in_parallel(lambda start: dict(self._walk(start)), starts)
        self._ahead = {offset: data for blocks in found for offset, data in blocks.items()}

    def _walk(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Offset and content of what will be read of the members that begin in a stretch."""
        end = min(start + _SEGMENT_BYTES, self._size)
        header = self._first_header(start, end)
        while header is not None and header < end:
            place = max(header - 1, 0)
            data = self._fetch(place, HEADER_BYTES)
            yield place, data
            # headers that lie in what was fetched need no request
            last = place + len(data) - _BLOCK
            following: int | None = header
            while following is not None and following <= last:
                header = following
                following = _next(data[header - place : header - place + _BLOCK], header)
            header = following

    def _first_header(self, start: int, end: int) -> int | None:
        for place in range(start, end, _SCAN_BYTES):
            data = self._fetch(place, _SCAN_BYTES)
            for offset in range(0, len(data) - _BLOCK + 1, _BLOCK):
                if _next(data[offset : offset + _BLOCK], place + offset) is not None:
                    return place + offset
        return None


def _next(block: bytes, offset: int) -> int | None:
    """Where the header behind that one lies; None: the block at `offset` is no header."""
    if block[257:262] != b"ustar":
        return None
    try:
        member = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return None
    has_content = not (member.islnk() or member.issym() or member.isdir())
    return offset + _BLOCK + (-(-member.size // _BLOCK) * _BLOCK if has_content else 0)
