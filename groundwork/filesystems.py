"""The filesystems behind URLs: one client of each scheme in a process, and faults tried again.

They are fsspec's (gcsfs, s3fs, aiohttp). The emulators' variables hold: STORAGE_EMULATOR_HOST,
AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from groundwork.errors import StorageFault, UserError, one_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_REQUEST_S = 120.0
"""That one request may take; without a limit, one that is lost is waited for for ever."""
_TRIES = 4
_FIRST_DELAY_S = 0.5

_Result = TypeVar("_Result")
_lock = threading.Lock()


class BehindTheEnd(FileNotFoundError):
    """An object that is there is shorter than what was asked for."""


class _Scheme(NamedTuple):
    """How the URLs of a scheme are served."""

    module: str
    extra: str


SCHEMES = {
    "gs": _Scheme("gcsfs", "gcp"),
    "s3": _Scheme("s3fs", "aws"),
    "https": _Scheme("aiohttp", "gcp"),
    "http": _Scheme("aiohttp", "gcp"),
}


def check_scheme(path: str) -> None:
    """Check, without any request, that the URL `path` can be served.

    Raises:
        UserError: naming the extra to install.
    """
    name = path.partition("://")[0]
    if name == "file":
        raise UserError(f"{path}: give the path without file://")
    scheme = SCHEMES.get(name)
    if scheme is None:
        raise UserError(f"{path}: {name}:// is not served; use gs://, s3://, https:// or a path")
    if importlib.util.find_spec(scheme.module) is None:
        raise UserError(
            f"{path}: no filesystem for {name}:// is installed; "
            f"pip install 'vit-keras-pipeline[{scheme.extra}]'"
        )


def call(
    path: str, function: Callable[[AbstractFileSystem], _Result], tries: int = _TRIES
) -> _Result:
    """Do something with the filesystem of `path`; faults of the network are tried again."""
    check_scheme(path)
    for attempt in range(tries):
        try:
            return function(_filesystem(path.partition("://")[0]))
        except (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError):
            raise
        except Exception as error:  # each library has its own errors, and theirs below them
            last = error
        if _is_behind_the_end(last):
            raise BehindTheEnd(f"{path} ends before the bytes that were asked for") from last
        if not _may_pass(last):
            break
        if attempt + 1 < tries:
            time.sleep(_FIRST_DELAY_S * 2**attempt * (1 + random.random()))
    raise StorageFault(
        f"{path}: {one_line(last)}; once that is mended, run the same command again"
    ) from last


def _is_behind_the_end(error: Exception) -> bool:
    """Whether a server has refused a range (status 416)."""
    code = getattr(error, "code", None) or getattr(error, "status", None)
    return code == 416 or "InvalidRange" in str(error) or "not satisfiable" in str(error)


def _may_pass(error: Exception) -> bool:
    """Whether what failed may succeed in a moment."""
    name = type(error).__name__
    if name == "HttpError":  # gcsfs' own, which it has tried again already
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in (408, 429) or status >= 500
    return not isinstance(error, ValueError | TypeError) and "Credentials" not in name


def _filesystem(scheme: str) -> AbstractFileSystem:
    """The one client of a scheme in a process; a fork needs its own."""
    with _lock:
        return _open_filesystem(scheme, os.getpid())


@functools.cache
def _open_filesystem(scheme: str, _process: int) -> AbstractFileSystem:
    import logging

    # gcsfs' second client asks by gRPC what kind of bucket it is, which emulators do not answer
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints what it raises as well
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "gs":
        options["requests_timeout"] = _REQUEST_S
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            options["token"] = "anon"
    if scheme == "s3":  # botocore's tries are ours already, and s3fs would multiply them
        options["config_kwargs"] = {"retries": {"mode": "standard", "total_max_attempts": 2}}
    files = fsspec.filesystem(scheme, **options)
    if scheme == "s3":
        files.retries = 1
    return files
