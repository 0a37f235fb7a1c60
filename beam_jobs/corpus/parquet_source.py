"""Images in Parquet tables as Hugging Face's datasets have them, or named there by path or URL.

A column of images is a struct of bytes and path, bytes alone, or text. Class names are taken from
the schema where `datasets` has left them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from beam_jobs.corpus import unpacked
from beam_jobs.corpus.entries import Entry, text
from beam_jobs.corpus.passed_over import PassedOver
from beam_jobs.corpus.table_rows import Columns, place, row_entry
from groundwork import storage
from groundwork.errors import UserError, one_line

if TYPE_CHECKING:
    import pyarrow.parquet

SUFFIX = ".parquet"
_BATCH_ROWS = 64


def list_parquet(path: str, folder: str, columns: Columns) -> Iterator[Entry | PassedOver]:
    """The images of a Parquet file; those that lie in it are copied to `folder`, see `unpacked`.

    Raises:
        UserError: it is no such file, or has no such columns.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with storage.open_binary(path) as file:
            table = pyarrow.parquet.ParquetFile(file)
            chosen = columns.found_in(table.schema_arrow.names, path)
            with _copy(path, folder) as copy:
                yield from _rows(table, path, chosen, copy)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is no whole Parquet file: {one_line(error)}") from error
    except OSError as error:
        raise UserError(f"cannot read --input {path}: {error.strerror or error}") from error


class _Copy:
    """Writes images one behind the other, or only counts where they lie in an earlier copy."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.offset = 0

    def add(self, image: bytes) -> int:
        """Append an image and give where it begins."""
        begin = self.offset
        if self._file is not None:
            self._file.write(image)
        self.offset += len(image)
        return begin


@contextlib.contextmanager
def _copy(path: str, folder: str) -> Iterator[_Copy]:
    if unpacked.is_current(folder, path):
        yield _Copy(None)
        return
    with unpacked.create(folder, path) as file:
        yield _Copy(file)


def _rows(
    table: pyarrow.parquet.ParquetFile, path: str, columns: Columns, copy: _Copy
) -> Iterator[Entry | PassedOver]:
    names = _class_names(table.schema_arrow.metadata, columns.label)
    file_name = PurePosixPath(text(path)).name
    number = 0
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns.names)):
        for row in batch.to_pylist():
            where = f"{path} row {number}"
            image = row[columns.image]
            data = image.get("bytes") if isinstance(image, dict) else image
            if isinstance(image, dict) and data is None:
                image = image.get("path")
            row[columns.label] = _named(row.get(columns.label), names, where)
            if isinstance(data, bytes):
                key = row.get(columns.key) or f"{file_name}/{number:08d}"
                entry = row_entry(row, columns, where, str(key))
                yield entry._replace(
                    path=os.fsencode(path),
                    offset=copy.add(data),
                    length=len(data),
                    codec=unpacked.CODEC,
                )
            else:
                if not isinstance(image, str) or not image:
                    raise UserError(f"{where} has neither bytes nor a path for its image")
                key = row.get(columns.key) or image
                yield from place(path, image, row_entry(row, columns, where, str(key)), where)
            number += 1


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> list[str] | None:
    """The names of the classes by number, which `datasets` keeps beside the schema."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]
        names = described.get("names") or described["feature"]["names"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return [str(name) for name in names]


def _named(label: Any, names: list[str] | None, where: str) -> Any:
    if names is None or label is None:
        return label
    if isinstance(label, list):
        return [_named(one, names, where) for one in label]
    if label == -1:  # how `datasets` marks that there is none
        return None
    if not isinstance(label, int) or not 0 <= label < len(names):
        raise UserError(f"{where}: the label {label!r} is none of its {len(names)} classes")
    return names[label]
