"""Files of HTTP servers, public buckets among them, in a cache: whole and as they are, or not."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urldefrag, urlsplit, urlunsplit

_BLOCK = 1 << 20
_TRIES = 4
_TIMEOUT_S = 30.0
_ABSENT = (403, 404)  # a public bucket that cannot be listed answers 403 for what is not there


def cache_folder() -> Path:
    """Where downloads are kept: `VIT_KERAS_CACHE`, else ~/.cache/vit_keras."""
    return Path(os.environ.get("VIT_KERAS_CACHE", "~/.cache/vit_keras")).expanduser()


def is_offline() -> bool:
    """Whether nothing may be asked of the network: `HF_HUB_OFFLINE`, as for the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def cached_file(url: str) -> Path:
    """The local copy of a file; of several processes one downloads it, and the others wait.

    Args:
        url: of http or https, with `#sha256=…` where its content is known.

    Raises:
        FileNotFoundError: the server has no such file.
        OSError: no network, a content that is not what was to come, or no space.
    """
    url, _, fragment = url.partition("#")
    expected = fragment.removeprefix("sha256=").lower()
    if fragment and (not fragment.startswith("sha256=") or len(expected) != 64):
        raise ValueError(f"{url}: after # stands {fragment}, which is no sha256= of 64 digits")
    path = _place(url)
    if not path.is_file():
        _fetch(url, path, expected)
    elif expected and file_sha256(path) != expected:
        raise _other_content(url, file_sha256(path), expected, path)
    return path


def cached_beside(url: str) -> None:
    """Bring what may stand beside a file of weights into the cache, next to the file's own place.

    The file comes after it, so that one that is there has been asked for its config.
    """
    url = urldefrag(url).url
    if _place(url).is_file():
        return
    parts = urlsplit(url)
    folder, _, file = parts.path.rpartition("/")
    stem = file.removesuffix(".safetensors")
    for name in dict.fromkeys((f"{stem}.json", "config.json", "preprocessor_config.json")):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            cached_file(urlunsplit(parts._replace(path=f"{folder}/{name}")))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _place(url: str) -> Path:
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    key = urlunsplit(parts._replace(path=folder))
    return cache_folder() / hashlib.sha256(key.encode()).hexdigest()[:16] / unquote(name)


def _fetch(url: str, path: Path, expected: str) -> None:
    import filelock

    if is_offline():
        raise OSError(f"{url} is not in {cache_folder()}, and HF_HUB_OFFLINE is set: unset it once")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock"):
            if path.is_file():
                return
            headers = _download(url, part)
            found = file_sha256(part)
            if expected and found != expected:
                part.unlink()
                raise _other_content(url, found, expected, path)
            _check_md5(url, part, headers)
            part.replace(path)
    except OSError as error:
        # EFBIG: a limit of the process' own
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            part.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f"no space left for {url} in {cache_folder()}: free some, or set VIT_KERAS_CACHE "
                "to a folder elsewhere",
            ) from error
        raise


def _download(url: str, part: Path) -> Mapping[str, str]:
    """Bring the file to `part`, going on where an attempt has ended; gives its headers."""
    part.unlink(missing_ok=True)  # of another process, perhaps of another content
    version = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(0.25 * 2**attempt)
        begun = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"User-Agent": "vit-keras-pipeline"})
        if begun and version:
            request.add_header("Range", f"bytes={begun}-")
            request.add_header("If-Range", version)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                goes_on = answer.status == 206
                with part.open("ab" if goes_on else "wb") as file:
                    whole = _copy(answer, file)
                headers: Mapping[str, str] = answer.headers
                version = headers.get("ETag") or ""
                if whole:
                    return headers
                reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _ABSENT:
                raise FileNotFoundError(
                    f"{url} is not there, or not public (status {error.code}): look for a slip in "
                    "the name, or download it with your own tools and give the file"
                ) from error
            if error.code == 401:
                raise PermissionError(
                    f"{url} is private (status 401): download it with your own tools and give the "
                    "file"
                ) from error
            reason = f"the server answers {error.code}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            reason = str(getattr(error, "reason", None) or error)
    part.unlink(missing_ok=True)
    raise ConnectionError(
        f"{url} could not be downloaded in {_TRIES} attempts ({reason}): look to the network, and "
        "try again"
    )


def _copy(answer: http.client.HTTPResponse, file: IO[bytes]) -> bool:
    """Copy an answer to a file; whether it has come whole."""
    expected = answer.headers.get("Content-Length")
    copied = 0
    try:
        while block := answer.read(_BLOCK):
            file.write(block)
            copied += len(block)
    except http.client.IncompleteRead as error:
        file.write(error.partial)
        return False
    except (ConnectionError, TimeoutError):
        return False
    return expected is None or copied == int(expected)


def _check_md5(url: str, part: Path, headers: Mapping[str, str]) -> None:
    """Compare with the MD5 that Google's buckets tell."""
    for each in (headers.get("x-goog-hash") or "").split(","):
        kind, _, told = each.strip().partition("=")
        if kind != "md5":
            continue
        digest = hashlib.md5(usedforsecurity=False)
        with part.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        if base64.b64decode(told) != digest.digest():
            part.unlink()
            raise OSError(f"{url} came with another content than the bucket has: try again")


def _other_content(url: str, found: str, expected: str, path: Path) -> OSError:
    path.unlink(missing_ok=True)
    return OSError(
        f"{url} has SHA-256 {found}, not {expected}; it was not kept: take the digest from whom "
        "you have the name from, or another source"
    )
