"""A folder to write a report in, whose files are sent where the report belongs at a URL."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from groundwork import storage
from pipeline.evaluation.reports.transfer_result import FILE_NAME

KEPT_HERE = ("features", "fine_tune")
"""Folders that are not sent: what a report is computed from, as large as the data."""


@contextlib.contextmanager
def local_output(output: str) -> Iterator[Path]:
    """The folder `output`; of a URL one on this host, sent when the block ends without an error.

    Raises:
        UserError: no filesystem for the URL is installed.
        StorageFault: the bucket cannot be reached.
    """
    if not storage.is_remote(output):
        yield Path(output)
        return
    storage.names(output)  # what cannot be reached is told before hours of work
    with tempfile.TemporaryDirectory(prefix="transfer-") as name:
        yield Path(name)
        paths = [path.relative_to(name) for path in Path(name).rglob("*") if path.is_file()]
        for path in sorted(paths, key=lambda path: path.name == FILE_NAME):  # that one is the last
            if not set(KEPT_HERE) & set(path.parts[:-1]):
                with storage.create(storage.join(output, path.as_posix())) as file:
                    file.write((Path(name) / path).read_bytes())
    print(f"sent to   {output}", flush=True)
