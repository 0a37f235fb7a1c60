"""A list of keys to leave out of a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable

from groundwork import storage
from groundwork.errors import UserError


def read(path: str) -> frozenset[str]:
    """Read a file of keys, one a line; a line that begins with `"` is a JSON string.

    Raises:
        UserError: the file cannot be read, or a line is not JSON that should be.
    """
    try:
        # not splitlines(): a key may hold the rarer line breaks of Unicode
        lines = storage.read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read --exclude {path}: {error}") from error
    keys = set()
    for number, line in enumerate(lines, start=1):
        key = line.rstrip("\r")
        if key.startswith('"'):
            try:
                key = json.loads(key)
            except ValueError as error:
                raise UserError(f"--exclude {path} line {number} is no JSON string") from error
        if key:
            keys.add(key)
    return frozenset(keys)


def write(path: str, keys: Iterable[str]) -> None:
    """Write a file that `read` reads, sorted."""
    lines = []
    for key in sorted(keys):
        plain = not key.startswith('"') and not any(character in key for character in "\r\n")
        lines.append((key if plain else json.dumps(key, ensure_ascii=False)) + "\n")
    storage.write_text(path, "".join(lines))
