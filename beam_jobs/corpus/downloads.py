"""Images at http:// and https:// URLs, fetched ahead of their use, gently and more than once.

One host is asked by a few connections at a time, a fault that may pass is tried again after a
wait that doubles (or that the host asks for), and what its owner keeps from such use is left out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_jobs.corpus.entries import Entry
from beam_jobs.images.image_check import Reason, Rejected
from groundwork.errors import one_line

if TYPE_CHECKING:
    import urllib3

_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_OPTED_OUT = ("noai", "noimageai", "noindex", "noimageindex")
"""Of the header X-Robots-Tag, as img2dataset heeds them."""
_AGENT = "vit-keras-pipeline (build_dataset)"
_CHUNK_BYTES = 1 << 16
_MOST_BYTES = 1 << 28
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_REDIRECTS = 5


@dataclass(frozen=True)
class Manners:
    """How hosts are asked."""

    connections: int = 16
    """Downloads of a worker at once."""
    host_connections: int = 4
    """Of these, to one host."""
    retries: int = 3
    timeout_s: float = 30.0
    """For one try, from the first byte asked to the last one read."""


def is_url(path: str | bytes) -> bool:
    """Whether this is the URL of something to download."""
    text = path if isinstance(path, str) else path.decode("utf-8", "replace")
    return text.lower().startswith(("http://", "https://"))


class Downloader:
    """The connections of a worker, which outlast a shard."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self._lock = threading.Lock()
        self._made: urllib3.PoolManager | None = None

    def _pool(self) -> urllib3.PoolManager:
        """Made when the first URL comes: most corpora have none."""
        import urllib3

        with self._lock:
            if self._made is None:
                self._made = urllib3.PoolManager(
                    num_pools=256,
                    maxsize=self.manners.host_connections,
                    block=True,  # a thread more than that waits for a connection to the host
                    headers={"User-Agent": _AGENT},
                    retries=urllib3.Retry(
                        total=None, connect=0, read=0, status=0, other=0, redirect=_REDIRECTS
                    ),
                )
            return self._made

    def fetch(self, url: str) -> bytes:
        """What lies at a URL.

        Raises:
            Rejected: it cannot be had, with the last reason.
        """
        for attempt in range(self.manners.retries + 1):
            wait = _FIRST_WAIT_S * 2**attempt
            try:
                return self._once(url)
            except _Again as again:
                problem, wait = str(again), min(max(wait, again.wait_s), _LONGEST_WAIT_S)
            if attempt < self.manners.retries:
                time.sleep(wait)
        tries = f", after {attempt + 1} tries" if attempt else ""
        raise Rejected(Reason.NOT_DOWNLOADED, f"{problem}{tries}")

    def _once(self, url: str) -> bytes:
        import urllib3

        manners = self.manners
        deadline = time.monotonic() + manners.timeout_s
        timeout = urllib3.Timeout(connect=manners.timeout_s, read=manners.timeout_s)
        try:
            response = self._pool().request("GET", url, preload_content=False, timeout=timeout)
            try:
                return _body(response, deadline)
            except BaseException:
                response.close()  # what is left of the answer must not be taken for the next one's
                raise
            finally:
                response.release_conn()
        except urllib3.exceptions.LocationParseError as error:
            raise Rejected(Reason.NOT_DOWNLOADED, f"no URL: {one_line(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            raise _Again(one_line(error), 0) from error


class _Again(Exception):
    """A fault that may pass."""

    def __init__(self, problem: str, wait_s: float) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


def _body(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    if response.status in _MAY_PASS:
        asked = response.headers.get("Retry-After", "")
        raise _Again(f"HTTP {response.status}", float(asked) if asked.isdecimal() else 0.0)
    if response.status != 200:
        raise Rejected(Reason.NOT_DOWNLOADED, f"HTTP {response.status}")
    robots = response.headers.get("X-Robots-Tag", "").lower().replace(" ", "")
    if opted_out := [word for word in _OPTED_OUT if word in robots.split(",")]:
        raise Rejected(Reason.NOT_DOWNLOADED, f"its owner opted out: X-Robots-Tag {opted_out[0]}")
    chunks, size = [], 0
    while chunk := response.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MOST_BYTES:
            raise Rejected(Reason.NOT_DOWNLOADED, f"more than {_MOST_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise _Again("too slow", 0)
    return b"".join(chunks)


class Downloads:
    """The downloads of one shard, begun in the order in which they are wanted. Close it after use.

    Args:
        downloader: of the worker.
        entries: all of the shard; those that are no URLs are passed over.
    """

    def __init__(self, downloader: Downloader, entries: Iterable[Entry]) -> None:
        self._downloader = downloader
        self._urls: Iterator[Entry] = (e for e in entries if not e.problem and is_url(e.path))
        self._begun: deque[tuple[Entry, Future[bytes]]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    def read(self, entry: Entry) -> bytes | Rejected:
        """The image of an entry, or why it cannot be had; those before it are given up."""
        while True:
            self._begin()
            found, future = self._begun.popleft()
            if found == entry:
                try:
                    return future.result()
                except Rejected as rejected:
                    return rejected
            future.cancel()

    def close(self) -> None:
        """Give up what is not read."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        """Keep twice as many begun as run at once: memory is bounded, and no thread waits."""
        connections = self._downloader.manners.connections
        if self._threads is None:
            self._threads = ThreadPoolExecutor(connections, thread_name_prefix="download")
        while len(self._begun) < 2 * connections:
            entry = next(self._urls, None)
            if entry is None:
                break
            future = self._threads.submit(self._downloader.fetch, entry.path.decode())
            self._begun.append((entry, future))
