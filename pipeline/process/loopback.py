"""Keep a port of this process for this machine, where the server's library opens it to all.

TensorFlow's tf.data service listens on every address, without TLS, and asks nobody who he is. What
the kernel drops before the server sees it needs no credentials: a filter on the listening socket
lets pass what comes from the loopback addresses alone. (Classic BPF, as `man 7 socket` documents
for SO_ATTACH_FILTER; Linux alone, no privileges needed.)
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
import struct
import sys

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
NETWORK_HEADER = 0x100000000 - 0x100000  # SKF_NET_OFF of <linux/filter.h>, as unsigned
LOAD_BYTE, LOAD_WORD = 0x30, 0x20  # BPF_LD | BPF_B or BPF_W | BPF_ABS
EQUALS, AND, ANSWER = 0x15, 0x54, 0x06  # BPF_JMP | BPF_JEQ, BPF_ALU | BPF_AND, BPF_RET
DROP, PASS = 0, 0xFFFFFFFF
IPV4_SOURCE, IPV6_SOURCE = 12, 8
"""Places of the sender's address in the header of a packet."""

# Code, operand, and how many instructions to skip where it holds and where not.
FILTER = (
    (LOAD_BYTE, NETWORK_HEADER, 0, 0),
    (AND, 0xF0, 0, 0),
    (EQUALS, 0x60, 3, 0),  # IP version 6
    (LOAD_BYTE, NETWORK_HEADER + IPV4_SOURCE, 0, 0),
    (EQUALS, 127, 9, 0),
    (ANSWER, DROP, 0, 0),
    (LOAD_WORD, NETWORK_HEADER + IPV6_SOURCE, 0, 0),
    (EQUALS, 0, 0, 7),
    (LOAD_WORD, NETWORK_HEADER + IPV6_SOURCE + 4, 0, 0),
    (EQUALS, 0, 0, 5),
    (LOAD_WORD, NETWORK_HEADER + IPV6_SOURCE + 8, 0, 0),
    (EQUALS, 0, 0, 3),
    (LOAD_WORD, NETWORK_HEADER + IPV6_SOURCE + 12, 0, 0),
    (EQUALS, 1, 0, 1),
    (ANSWER, PASS, 0, 0),
    (ANSWER, DROP, 0, 0),
)


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine and cannot be reached from another."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return False


def keep_for_this_machine(port: int) -> bool:
    """Have the kernel drop what other machines send to a TCP port that this process listens on.

    Returns:
        Whether it was done: not where this is not Linux, or where nobody listens.
    """
    listening = [found for found in _sockets() if _listens(found, port)]
    for found in listening:
        _attach(found)
    for found in listening:
        found.close()
    return bool(listening)


def _sockets() -> list[socket.socket]:
    """Duplicates of the sockets that this process has open."""
    if sys.platform != "linux":
        return []
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                found.append(socket.socket(fileno=os.dup(int(name))))
    return found


def _listens(found: socket.socket, port: int) -> bool:
    try:
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        own = found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port
    except OSError:
        listens = own = False
    if not (listens and own):
        found.close()
    return bool(listens and own)


def _attach(found: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", op, yes, no, k) for op, k, yes, no in FILTER)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL", len(FILTER), ctypes.addressof(held))
    found.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
