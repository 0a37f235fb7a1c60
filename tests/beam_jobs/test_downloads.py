"""Tables of URLs, against a server on this machine that misbehaves in the ways servers do."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from beam_corpus import ALL, build, encoded, picture, rejected, stored

from beam_jobs.corpus.downloads import Downloader, Manners, is_url
from beam_jobs.images.image_check import Rejected
from groundwork.errors import JobError


def image(number: int) -> bytes:
    return encoded(picture(number))


class Server(ThreadingHTTPServer):
    """Serves /N.jpg and what the paths below ask for; remembers who came and when."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0
        self.connections: set[object] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.asked[self.path] += 1
            asked = server.asked[self.path]
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            server.connections.add(self.client_address)
        try:
            self._answer(asked)
        finally:
            with server.lock:
                server.at_once -= 1

    def _answer(self, asked: int) -> None:
        kind, _, name = self.path.strip("/").rpartition("/")
        if kind == "flaky" and asked == 1:
            self._send(503, b"later")
        elif kind == "busy" and asked == 1:
            self._send(429, b"later", {"Retry-After": "1"})
        elif kind == "down":
            self._send(500, b"")
        elif kind == "gone":
            self._send(404, b"")
        elif kind == "moved":
            self._send(302, b"", {"Location": f"/{name}"})
        elif kind == "private":
            self._send(200, image(0), {"X-Robots-Tag": "nofollow, noai"})
        elif kind == "cut" and asked == 1:
            self.send_response(200)
            self.send_header("Content-Length", "9999")
            self.end_headers()
            self.wfile.write(image(0)[:100])
            self.close_connection = True
        elif kind == "slow":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
            self.close_connection = True
        else:
            time.sleep(0.02)
            self._send(200, image(int(name.partition(".")[0])))

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def table(tmp_path, server: Server, paths: list[str]):
    rows = ["url,label", *(f"{server.url}/{path},a" for path in paths)]
    (tmp_path / "urls.csv").write_text("\n".join(rows))
    return tmp_path / "urls.csv"


def test_images_at_urls(tmp_path, server):
    """Each is asked for once, several at a time, in few connections."""
    source = table(tmp_path, server, [f"{n}.jpg" for n in range(60)])
    build(source, tmp_path / "out", *ALL, "--shards", "2", "--host_connections", "3")
    assert stored(tmp_path / "out") == {f"{server.url}/{n}.jpg": ("a", image(n)) for n in range(60)}
    assert set(server.asked.values()) == {1}
    assert 2 <= server.most_at_once <= 3
    assert len(server.connections) <= 6


def test_faults_that_pass_and_faults_that_stay(tmp_path, server):
    paths = ["flaky/1.jpg", "busy/2.jpg", "moved/3.jpg", "cut/4.jpg", "5.jpg"]
    bad = ["down/6.jpg", "gone/7.jpg", "private/8.jpg"]
    source = table(tmp_path, server, paths + bad)
    started = time.monotonic()
    options = ("--retries", "1", "--max_rejected", "0.5")
    build(source, tmp_path / "out", *ALL, *options)
    assert time.monotonic() - started >= 1  # what Retry-After asks for
    assert stored(tmp_path / "out") == {
        f"{server.url}/{path}": ("a", image(n)) for n, path in enumerate(paths, start=1)
    }
    assert rejected(tmp_path / "out") == {f"{server.url}/{path}": "not_downloaded" for path in bad}
    text = (tmp_path / "out" / "rejected.jsonl").read_text()
    for detail in ("HTTP 500, after 2 tries", "HTTP 404", "X-Robots-Tag noai"):
        assert detail in text
    assert (server.asked["/down/6.jpg"], server.asked["/gone/7.jpg"]) == (2, 1)
    assert server.asked["/private/8.jpg"] == 1


def test_a_server_that_drips_costs_its_time_and_no_more(server):
    downloader = Downloader(Manners(retries=0, timeout_s=0.5))
    started = time.monotonic()
    with pytest.raises(Rejected, match=r"too slow"):
        downloader.fetch(f"{server.url}/slow/0.jpg")
    assert time.monotonic() - started < 2


def test_a_host_that_is_not_there(tmp_path):
    (tmp_path / "urls.csv").write_text("url,label\nhttp://127.0.0.1:9/0.jpg,a\nhttp://[x/,a")
    with pytest.raises(JobError, match=r"2 of 2 images are bad .*2 × not_downloaded"):
        build(tmp_path / "urls.csv", tmp_path / "out", *ALL, "--retries", "0")


def test_retry_rejected_downloads_again(tmp_path, server):
    source = table(tmp_path, server, ["0.jpg", "flaky/1.jpg"])
    options = ("--retries", "0", "--max_rejected", "0.5")
    build(source, tmp_path / "out", *ALL, *options)
    assert len(stored(tmp_path / "out")) == 1
    build(source, tmp_path / "out", *ALL, *options, "--retry_rejected")
    assert len(stored(tmp_path / "out")) == 2


def test_what_is_a_url():
    assert is_url("https://host/x") and is_url(b"HTTP://host")
    assert not is_url("gs://bucket/x") and not is_url(b"\xffhttp://") and not is_url("http/x.jpg")


def test_a_broken_answer_spoils_no_other(server):
    """A connection that is kept must not give the rest of one answer as the next."""
    downloader = Downloader(Manners(connections=1, host_connections=1, retries=0, timeout_s=0.5))
    for path in ("slow/0.jpg", "gone/0.jpg", "cut/0.jpg", "private/0.jpg"):
        with pytest.raises(Rejected):
            downloader.fetch(f"{server.url}/{path}")
        assert downloader.fetch(f"{server.url}/7.jpg") == image(7)
