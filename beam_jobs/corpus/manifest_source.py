"""Images named by a table: CSV with a header, or JSON lines.

Columns: `path` (relative to the table's folder, absolute, or a URL), `label`, and optionally
`split` and `key` (default: the path); --columns names others. Several labels: a JSON list, or
joined by `|` in CSV.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from beam_jobs.corpus.entries import Entry
from beam_jobs.corpus.passed_over import PassedOver
from beam_jobs.corpus.table_rows import Columns, place, row_entry, split_labels
from groundwork import storage
from groundwork.errors import UserError

SUFFIXES = (".csv", ".tsv", ".jsonl")
_CSV_FIELD_BYTES = 1 << 26
"""Of a cell: boxes and captions may be longer than Python's limit of 128 kB."""


@dataclass(frozen=True)
class Format:
    """How a table's text is read."""

    encoding: str = "utf-8"
    separator: str = ""
    """Of CSV; empty: a comma, in .tsv a tab."""


def list_manifest(path: str, columns: Columns, kind: Format) -> Iterator[Entry | PassedOver]:
    """The images of a table.

    Raises:
        UserError: naming the line that is not understood.
    """
    chosen: Columns | None = None
    for line, row in _rows(path, kind):
        where = f"{path} line {line}"
        if path.endswith(".jsonl"):
            # a line may lack fields that others have; what it must have is looked at below
            chosen = columns.found_in([*row, columns.label, *columns.keep], path)
        elif chosen is None:
            chosen = columns.found_in(row, path)
        image = row.get(chosen.image)
        if not isinstance(image, str) or not image:
            raise UserError(f"{where} has no {chosen.image}")
        values: Mapping[str, Any] = row
        if not path.endswith(".jsonl"):
            values = {**row, chosen.label: split_labels(row.get(chosen.label))}
        key = row.get(chosen.key) or image
        if not isinstance(key, str):
            raise UserError(f"{where}: key {key!r} is no text")
        yield from place(path, image, row_entry(values, chosen, where, key), where)


def _rows(path: str, kind: Format) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and values of each row."""
    encoding = "utf-8-sig" if kind.encoding.lower().replace("_", "-") == "utf-8" else kind.encoding
    number = 0
    try:
        with storage.open_binary(path) as binary:
            lines = io.TextIOWrapper(binary, encoding=encoding, newline="")
            if not path.endswith(".jsonl"):
                separator = kind.separator or ("\t" if path.endswith(".tsv") else ",")
                yield from _csv_rows(path, lines, separator)
                return
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    values = json.loads(text)
                    if not isinstance(values, dict):
                        raise UserError(f"{path} line {number} is not a JSON object")
                    yield number, values
    except UnicodeError as error:
        raise UserError(
            f"{path} is not {kind.encoding.upper()}: {error}; --encoding names another, such as "
            "latin-1 or utf-16"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {number} is not JSON: {error.msg}") from error
    except OSError as error:
        raise UserError(f"cannot read --input {path}: {error.strerror or error}") from error


def _csv_rows(
    path: str, lines: io.TextIOWrapper, separator: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(_CSV_FIELD_BYTES)
    # strict: a quotation mark that is never closed would swallow the rows behind it
    table = csv.DictReader(lines, delimiter=separator, strict=True)
    try:
        for row in table:
            if None in row:
                raise UserError(
                    f"{path} line {table.line_num} has more cells than its first line: put cells "
                    "that hold the separator into quotation marks"
                )
            yield table.line_num, row
    except csv.Error as error:
        raise UserError(f"{path} behind line {table.line_num} is not CSV: {error}") from error
