"""A row of a table (CSV, JSON lines, Parquet) as an image: its columns, what they may hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beam_jobs.corpus.downloads import is_url
from beam_jobs.corpus.entries import Entry, class_name
from beam_jobs.corpus.folder_source import file_entry
from beam_jobs.corpus.passed_over import PassedOver
from groundwork import storage
from groundwork.errors import UserError
from groundwork.filesystems import check_scheme

_IMAGE_COLUMNS = ("path", "image", "url", "file_name")
"""Names of the column of images; the first one present, unless --columns names another."""
_ROLES = ("image", "label", "split", "key")
_LABEL_SEPARATOR = "|"


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read."""

    image: str = ""
    """Empty: the first of _IMAGE_COLUMNS that there is."""
    label: str = "label"
    split: str = "split"
    key: str = "key"
    keep: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset(("split", "key"))
    """Of the roles: those whose column need not be there."""
    names: tuple[str, ...] = ()
    """All that a table has of these."""

    def found_in(self, columns: Iterable[str], path: str) -> Columns:
        """The columns of one table.

        Raises:
            UserError: it lacks one.
        """
        present = list(columns)
        image = self.image or next((name for name in _IMAGE_COLUMNS if name in present), "path")
        wanted = {"image": image, "label": self.label, "split": self.split, "key": self.key}
        missing = [
            name
            for role, name in wanted.items()
            if name not in present and role not in self.optional
        ]
        missing += [name for name in self.keep if name not in present]
        if missing:
            raise UserError(
                f"{path} has the columns {', '.join(map(repr, present))}: "
                f"{' and '.join(map(repr, missing))} "
                f"{'is' if len(missing) == 1 else 'are'} needed; --columns image=…,label=… "
                "names others"
            )
        names = dict.fromkeys([*wanted.values(), *self.keep])
        return replace(self, image=image, names=tuple(n for n in names if n in present))


def parse_columns(text: str | None, keep: tuple[str, ...]) -> Columns:
    """Read --columns, such as `image=photo,label=class`.

    Raises:
        UserError: it is not of that form.
    """
    named: dict[str, str] = {}
    for part in text.split(",") if text else []:
        role, equals, name = part.strip().partition("=")
        if role not in _ROLES or not equals or not name or role in named:
            raise UserError(
                f"--columns {text}: {part!r} is not ROLE=NAME, once for each of {', '.join(_ROLES)}"
            )
        named[role] = name
    optional = frozenset(("split", "key")) - named.keys()
    return Columns(
        image=named.get("image", ""),
        label=named.get("label", "label"),
        split=named.get("split", "split"),
        key=named.get("key", "key"),
        keep=keep,
        optional=optional,
    )


def row_entry(row: Mapping[str, Any], columns: Columns, where: str, key: str) -> Entry:
    """The entry of a row, still without a place.

    Raises:
        UserError: a value is not what it should be.
    """
    split = row.get(columns.split) or ""
    if not isinstance(split, str) or (split and not (split.isidentifier() and split.isascii())):
        raise UserError(f"{where}: {split!r} is no name for a split")
    labels = labels_of(row.get(columns.label), where)
    for value in (key, *labels):
        check_storable(value, where)
    kept = {name: row[name] for name in columns.keep if row.get(name) is not None}
    try:
        extra = json.dumps(kept, sort_keys=True) if kept else ""
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: a field of --keep is not text or numbers: {error}") from error
    return Entry(key, labels, b"", split=split, extra=extra)


def place(table: str, path: str, entry: Entry, where: str) -> Iterator[Entry | PassedOver]:
    """The entry with the place that a table's row names: a URL, or a path relative to the table."""
    check_storable(path, where)
    folder = table.rpartition("/")[0] if storage.is_remote(table) else str(Path(table).parent)
    path = storage.without_file_scheme(path)
    if is_url(path):
        yield entry._replace(path=path.encode())
    elif storage.is_remote(path):
        check_scheme(path)
        yield entry._replace(path=path.encode())
    elif storage.is_remote(folder):
        yield entry._replace(path=storage.join(folder, path).encode())
    else:
        for found in file_entry(Path(folder) / path, entry.key, entry.labels, entry.split):
            yield found._replace(extra=entry.extra) if isinstance(found, Entry) else found


def split_labels(value: str | None) -> list[str]:
    """The labels in a cell of CSV, joined by a vertical bar."""
    return value.split(_LABEL_SEPARATOR) if value else []


def labels_of(value: object, where: str) -> tuple[str, ...]:
    """The labels that a JSON value names: null has none, a list several.

    Raises:
        UserError: it is something else than text, a whole number, or a list of these.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    for label in values:
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise UserError(
                f"{where}: the label {label!r} is neither text nor a whole number, nor a list of "
                "these"
            )
    return tuple(class_name(str(label)) for label in values if label != "")


def check_storable(value: str, where: str) -> None:
    """Raise UserError for text that is no Unicode, as JSON's escapes can be, or holds a NUL."""
    try:
        fine = b"\0" not in value.encode()
    except UnicodeEncodeError:
        fine = False
    if not fine:
        raise UserError(f"{where}: {value!r} is no Unicode, or has a NUL")
