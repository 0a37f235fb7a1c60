"""Ports that only this machine reaches; real sockets, on a real address of another interface."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys

import pytest

from pipeline.launch_local import free_ports
from pipeline.process.loopback import is_loopback, keep_for_this_machine


def outer_address() -> str:
    """An address of this machine that is none of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing: the system chooses the interface
        if not is_loopback(probe.getsockname()[0]):
            return str(probe.getsockname()[0])
    pytest.skip("this machine has no network interface but loopback")


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_open_to_all_is_closed_to_others(family):
    outer = outer_address()
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("", 0))
        server.listen()
        port = server.getsockname()[1]
        assert answers("127.0.0.1", port) and answers(outer, port)
        assert keep_for_this_machine(port)
        assert answers("127.0.0.1", port) and not answers(outer, port)
    assert not keep_for_this_machine(port)


def test_loopback_addresses_are_known():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "192.168.0.3", "node3", "localhost.evil.org"]))


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
def test_a_data_service_is_for_this_machine_unless_told_otherwise():
    outer = outer_address()
    for host, reached, told in (
        ("localhost", False, "open to this machine alone"),
        (outer, True, "is open, without TLS or password: who reaches it can read and write files"),
    ):
        (port,) = free_ports(1)
        address = f"{host}:{port}"
        command = [sys.executable, "-m", "pipeline.data_service", "--role", "dispatcher"]
        command += ["--dispatcher", address, "--workers", f"{host}:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert told in process.stdout.readline()
            assert answers("127.0.0.1", port)
            assert answers(outer, port) == reached
            process.send_signal(signal.SIGHUP)
            assert process.wait(30) == 0
