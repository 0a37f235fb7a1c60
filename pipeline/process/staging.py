"""What TensorFlow writes itself and belongs at a URL: written on this host, then sent.

TensorFlow has no filesystem for s3://, and its own for gs:// knows Google's servers alone. So
checkpoints and TensorBoard's files of a workdir in a bucket lie for a while in the user's cache
folder, and go through `groundwork.storage` as all else does.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from groundwork import storage
from groundwork.user_cache import cache_folder


def staged(path: str) -> str:
    """Where this host writes the file or folder `path`: a local one in its own place.

    Of a URL that is a place of its own in $XDG_CACHE_HOME (~/.cache).
    """
    if not storage.is_remote(path):
        return path
    digest = hashlib.sha256(path.encode()).hexdigest()[:32]
    name = path.rstrip("/").rpartition("/")[2]
    return str(cache_folder("runs") / digest / name)


def forget(url: str) -> None:
    """Remove from this host what is written for `url`; nothing where that is a local path."""
    if storage.is_remote(url):
        shutil.rmtree(Path(staged(url)).parent, ignore_errors=True)


class Sender:
    """Sends what is written for a file or folder to where it belongs."""

    def __init__(self, url: str):
        """Send to `url`, from `staged(url)`; to a local path nothing has to be sent."""
        self._url = url
        self._sent: dict[Path, tuple[int, int]] = {}

    def send(self) -> None:
        """Send each file that is new or has changed since; raises StorageFault."""
        if not storage.is_remote(self._url):
            return
        staging = Path(staged(self._url))
        files = [staging] if staging.is_file() else sorted(staging.rglob("*"))
        for file in files:
            if not file.is_file():
                continue
            state = file.stat()
            version = (state.st_size, state.st_mtime_ns)
            if self._sent.get(file) != version:
                name = file.relative_to(staging).as_posix()
                storage.copy_from_local(
                    str(file), self._url if name == "." else storage.join(self._url, name)
                )
                self._sent[file] = version

    def close(self) -> None:
        """Send what is left, and remove all of it from this host; raises as `send`."""
        self.send()
        forget(self._url)
