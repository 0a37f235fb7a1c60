"""One job at a time in a folder, on a local disk or in a bucket.

A local lock is the operating system's (filelock) and ends with its process. A bucket has none:
there a lock is an object, a lease with an owner and a time, which its owner renews while it runs.
A lease that nobody has renewed for `LEASE_S` seconds is taken over; that of a process of this
machine as soon as it has ended.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from groundwork import storage
from groundwork.errors import JobError, StorageFault, UserError

LOCK = ".lock"
"""Name of the lock in the folder; gone once the job has ended well."""
LEASE_S = 300.0
_RENEWALS = 5
"""Of a lease before it would end."""


class FolderHeld(UserError):
    """Another job has the folder."""


@contextlib.contextmanager
def hold(folder: str, message: str) -> Iterator[None]:
    """Keep other jobs out of a folder, which is made where it does not exist.

    Args:
        folder: a local folder, or its URL.
        message: what another job is told: what goes on here, and what to do.

    Raises:
        FolderHeld: another job has the folder.
        UserError: it cannot be made.
        JobError: the lease was lost while the job ran.
    """
    path = storage.join(folder, LOCK)
    with _lease(path, message) if storage.is_remote(folder) else _file_lock(path, message):
        yield


@contextlib.contextmanager
def _file_lock(path: str, message: str) -> Iterator[None]:
    import filelock

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, blocking=False)
        lock.acquire()
    except filelock.Timeout as error:
        raise FolderHeld(message) from error
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): make it writable, or name another "
            "folder"
        ) from error
    try:
        yield
    finally:
        # before it is given up: nobody waits for it, and one who opens it now is told to wait
        Path(path).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _lease(path: str, message: str) -> Iterator[None]:
    owner = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
    own = {"owner": owner, "token": uuid.uuid4().hex, "process": _process(os.getpid())}
    _take(path, own, message)
    ended = threading.Event()
    lost = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_S / _RENEWALS):
            with contextlib.suppress(StorageFault):  # tried again before the lease ends
                if _read(path).get("token") != own["token"]:
                    lost.set()
                    return
                storage.write_text(path, _text(own))

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if not lost.is_set() and _read(path).get("token") == own["token"]:
            storage.delete(path)
    if lost.is_set():
        raise JobError(
            f"another job took {path} over, since this one could not renew it for "
            f"{LEASE_S:g} s: run the same command again once that one has ended"
        )


def _take(path: str, own: dict[str, str], message: str) -> None:
    with contextlib.suppress(FileExistsError):
        storage.create_new(path, _text(own).encode())
        return
    found = _read(path)
    age = time.time() - float(found.get("time", 0))
    if age < LEASE_S and not _has_ended(found.get("process", "")):
        raise FolderHeld(
            f"{message} (by {found.get('owner')}, {age:.0f} s ago; a job that was killed elsewhere "
            f"gives it up after {LEASE_S:g} s, or delete {path})"
        )
    storage.delete(path)
    try:
        storage.create_new(path, _text(own).encode())
    except FileExistsError as error:  # another one was quicker
        raise FolderHeld(message) from error


def _process(pid: int) -> str:
    """Boot of the machine, namespace, number and start of a process that runs; else empty.

    Empty too where the system does not tell, which is anywhere but on Linux.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        # behind the name, which may hold anything: the state first, the start as the 20th
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else f"{boot} {namespace} {pid} {fields[19]}"


def _has_ended(process: str) -> bool:
    """Whether it is known of a `_process` that it ran here, where its number means what it did."""
    there, here = process.split(), _process(os.getpid()).split()
    return bool(there) and there[:2] == here[:2] and _process(int(there[2])) != process


def _text(own: dict[str, str]) -> str:
    return json.dumps(own | {"time": str(time.time())}) + "\n"


def _read(path: str) -> dict[str, str]:
    """The lease as it stands; empty where there is none."""
    try:
        found: dict[str, str] = json.loads(storage.read_text(path))
    except FileNotFoundError:
        return {}
    return found
