"""Images named by a table: CSV with a header, or JSON lines.

Columns: `path` (relative to the table's folder, absolute, or a URL), `label`, and optionally
`split` and `key` (default: the path); others are passed over. Several labels: a JSON list, or
joined by `|` in CSV.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beam_jobs.corpus.entries import Entry, class_name
from beam_jobs.corpus.folder_source import file_entry
from groundwork import storage
from groundwork.errors import UserError

SUFFIXES = (".csv", ".tsv", ".jsonl")
_LABEL_SEPARATOR = "|"


def list_manifest(path: str) -> Iterator[Entry]:
    """The images of a table.

    Raises:
        UserError: naming the line that is not understood.
    """
    folder = path.rpartition("/")[0] if storage.is_remote(path) else os.fspath(Path(path).parent)
    for line, row in _rows(path):
        if not isinstance(row.get("path"), str) or not row["path"]:
            raise UserError(f"{path} line {line} has no path")
        key = row.get("key") or row["path"]
        split = row.get("split") or ""
        if not isinstance(key, str) or not isinstance(split, str):
            raise UserError(f"{path} line {line}: key and split are not text")
        if split and not (split.isidentifier() and split.isascii()):
            raise UserError(f"{path} line {line}: {split!r} is no name for a split")
        labels = _labels(row.get("label"))
        for value in (row["path"], key, *labels):
            if not _is_storable(value):
                raise UserError(f"{path} line {line}: {value!r} is no Unicode, or has a NUL")
        yield from _entries(folder, row["path"], key, labels, split)


def _rows(path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and values of each row."""
    try:
        with storage.open_binary(path) as binary:
            lines = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
            if not path.endswith(".jsonl"):
                yield from _csv_rows(path, lines)
                return
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    values = json.loads(text)
                    if not isinstance(values, dict):
                        raise UserError(f"{path} line {number} is not a JSON object")
                    yield number, values
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {number} is not JSON: {error.msg}") from error
    except OSError as error:
        raise UserError(f"cannot read --input {path}: {error.strerror or error}") from error


def _csv_rows(path: str, lines: io.TextIOWrapper) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # strict: a quotation mark that is never closed would swallow the rows behind it
    table = csv.DictReader(lines, delimiter="\t" if path.endswith(".tsv") else ",", strict=True)
    try:
        columns = table.fieldnames or ()
        if columns and not {"path", "label"} <= set(columns):
            raise UserError(
                f"{path} has the columns {', '.join(map(repr, columns))}: 'path' and 'label' are "
                "needed in its first line"
            )
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        raise UserError(f"{path} behind line {table.line_num} is not CSV: {error}") from error


def _is_storable(value: str) -> bool:
    """Whether a text is valid Unicode, which JSON's escapes need not be, and can name a file."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _entries(
    folder: str, path: str, key: str, labels: tuple[str, ...], split: str
) -> Iterator[Entry]:
    path = storage.without_file_scheme(path)
    if storage.is_remote(path):
        storage.check_scheme(path)
        yield Entry(key, labels, path.encode(), split=split)
    elif storage.is_remote(folder):
        yield Entry(key, labels, storage.join(folder, path).encode(), split=split)
    else:
        yield from file_entry(Path(folder) / path, key, labels, split)


def _labels(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, list):
        return tuple(class_name(str(label)) for label in value)
    return tuple(class_name(label) for label in str(value).split(_LABEL_SEPARATOR))
