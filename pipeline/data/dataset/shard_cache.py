"""Datasets in buckets: a bounded copy on this host of what TensorFlow does not read from there.

A dataset's description is copied whenever it is opened. Its shards and their indexes follow, before
they are read, where TensorFlow has no filesystem for the URL. The copies lie in the user's cache,
a folder for each description, so that a dataset that was written again is copied again; those of a
dataset that no process has open go, the one opened longest ago first, when others need the space.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import filelock

from groundwork import storage
from groundwork.errors import DiskFull, StorageFault, UserError
from groundwork.progress import Progress
from groundwork.user_cache import cache_folder, make_cache_folder
from pipeline.data.dataset.record_index import FOLDER as INDEX
from pipeline.data.dataset.record_index import SUFFIX
from pipeline.data.dataset.shard_counts import file_sizes

LIMIT = "VIT_DATASET_CACHE_GB"
"""Environment variable: what the copies may hold together, in GB of 10^9 bytes."""
LIMIT_GB = 200.0
HELD = ".held"
"""File in the folder of a dataset: locked while a process has it open, touched by each."""
_DATASETS = "datasets"
_DESCRIPTION = re.compile(r"(?!plan\.).*\.json|.*\.labels\.txt|COMPLETED")
_SHARD = re.compile(r"[^-]+-(?P<split>.+)\.tfrecord-(?P<number>\d+-of-\d+)")
_AT_ONCE = 8
_held: dict[str, int] = {}
"""Descriptors of the locked `HELD` files, by folder, kept while this process lives."""


def tensorflow_reads(url: str) -> bool:
    """Whether TensorFlow's own filesystem reads `url`.

    It has one for gs://, which knows Google's servers alone, not the variable
    STORAGE_EMULATOR_HOST; and none for s3:// and https://.
    """
    return url.startswith("gs://") and not os.environ.get("STORAGE_EMULATOR_HOST")


def open_description(url: str) -> str:
    """Copy what describes the dataset at `url`, without its shards; gives the local folder.

    It and what `fetch` adds stay while this process lives.

    Raises:
        UserError: the cache cannot be written to.
        StorageFault: the bucket cannot be reached.
    """
    names = sorted(name for name in storage.names(url) if _DESCRIPTION.fullmatch(name))
    texts = storage.in_parallel(lambda name: storage.read(storage.join(url, name)), names)
    digest = hashlib.sha256(url.encode())
    for name, text in zip(names, texts, strict=True):
        digest.update(f"\0{name}\0{len(text)}\0".encode() + text)
    root = make_cache_folder(_DATASETS)
    folder = root / digest.hexdigest()[:32]
    with _locked(root / ".lock"):  # nobody makes room while this begins
        for name, text in zip(names, texts, strict=True):
            with storage.create(str(folder / name)) as file:
                file.write(text)
        _hold(folder)
    return str(folder)


def fetch(url: str, folder: str, shards: Sequence[str]) -> None:
    """Copy shards of a dataset, and their indexes where there are any, unless they are there.

    Of several processes one copies, and the others wait for it.

    Args:
        url: of the dataset.
        folder: that `open_description` gave.
        shards: names of the files.

    Raises:
        UserError: they need more space than `LIMIT` leaves.
        StorageFault: one cannot be read, or has another SHA-256 than its manifest says.
        DiskFull: there is no space for them.
    """
    sizes = file_sizes(url)
    indexes = file_sizes(storage.join(url, INDEX))
    wanted = {name: sizes[name] for name in shards}
    wanted |= {
        f"{INDEX}/{name}{SUFFIX}": indexes[f"{name}{SUFFIX}"]
        for name in shards
        if f"{name}{SUFFIX}" in indexes
    }
    local = Path(folder)
    if not _missing(local, wanted):
        return
    with _locked(
        cache_folder(_DATASETS) / ".fetching", f"waiting for another process that copies {url}"
    ):
        for left in local.rglob(f"{storage.TEMPORARY_PREFIX}*"):  # by a process that was killed
            left.unlink()
        missing = _missing(local, wanted)
        with _locked(cache_folder(_DATASETS) / ".lock"):
            _make_room(url, local, sum(missing.values()))
        with _explained(url):
            _copy(url, local, missing)


def _copy(url: str, folder: Path, missing: Mapping[str, int]) -> None:
    progress = Progress(f"copying {url}, files", len(missing))
    lock = threading.Lock()
    done: list[int] = []

    def copy(name: str) -> None:
        storage.copy_to_local(
            storage.join(url, name), str(folder / name), _sha256(url, folder, name)
        )
        with lock:
            done.append(missing[name])
            progress.update(len(done), f"{sum(done) / 1e6:,.1f} MB")

    with contextlib.closing(progress):
        storage.in_parallel(copy, list(missing), _AT_ONCE)


def _missing(folder: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """Those of the `wanted` files that are not there, with their sizes."""
    there = file_sizes(str(folder))
    there |= {f"{INDEX}/{name}": size for name, size in file_sizes(str(folder / INDEX)).items()}
    return {name: size for name, size in wanted.items() if there.get(name) != size}


def _sha256(url: str, folder: Path, name: str) -> str:
    """What the manifest of a shard says; empty for an index, and for what others have written."""
    shard = _SHARD.fullmatch(name)
    if shard is None or not (folder / "job.json").exists():
        return ""
    path = storage.join(url, f"manifests/{shard['split']}-{shard['number']}.json")
    try:
        return str(json.loads(storage.read_text(path))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageFault(f"{path} is damaged: write the dataset again") from error


def _make_room(url: str, folder: Path, needed: int) -> None:
    """Let `needed` more bytes be in the cache, by what no process has open."""
    limit = _limit()
    root = cache_folder(_DATASETS)
    used = {path: _bytes_in(path) for path in root.iterdir() if path.is_dir()}
    total = sum(used.values()) + needed
    for path in sorted(set(used) - {folder}, key=_opened):
        if total > limit and _remove(path):
            total -= used[path]
    if total > limit:
        raise UserError(
            f"{url}: {needed / 1e9:.3g} GB are to be copied, and with what is in use the cache "
            f"{root} would hold {total / 1e9:.3g} of {limit / 1e9:.3g} GB: raise {LIMIT}, or "
            "copy the dataset to a disk and give that path"
        )


def _remove(folder: Path) -> bool:
    """Remove the copy of a dataset, unless a process has it open."""
    with (folder / HELD).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder)
    return True


def _opened(folder: Path) -> float:
    """When the copy of a dataset was opened last; 0 for what was left of a removal."""
    held = folder / HELD
    return held.stat().st_mtime if held.exists() else 0.0


def _hold(folder: Path) -> None:
    (folder / HELD).touch()
    if str(folder) not in _held:
        _held[str(folder)] = os.open(folder / HELD, os.O_RDONLY)
        fcntl.flock(_held[str(folder)], fcntl.LOCK_SH)


def _bytes_in(folder: Path) -> int:
    return sum(size for _, size in storage.files_below(str(folder)))


def _limit() -> float:
    text = os.environ.get(LIMIT, str(LIMIT_GB))
    try:
        return float(text) * 1e9
    except ValueError as error:
        raise UserError(f"{LIMIT} is {text}: give a number of GB, such as 500") from error


@contextlib.contextmanager
def _locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Keep other processes out; tells that it is `waiting` where it has to."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        if waiting:
            print(waiting, file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Say in one line what keeps a dataset from being copied."""
    try:
        yield
    except StorageFault:
        raise
    except FileNotFoundError as error:
        raise StorageFault(
            f"a file of {url} has gone ({error}): write the dataset again"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFull(
            f"no space left in {cache_folder(_DATASETS)} for the shards of {url}: free some, or "
            "set XDG_CACHE_HOME to a folder on another disk"
        ) from error
