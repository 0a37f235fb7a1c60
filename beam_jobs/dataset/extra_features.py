"""Features beside image, label and key: what they hold, and how TFDS and tf.Example keep it.

A kind is a word: text, int, float, a list of these (texts, ints, floats), rows of numbers such as
boxes (floats[4]), or list, of which only empty ones were seen.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from groundwork.errors import UserError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_TAKEN = ("image", "label", "key")
_ROWS = re.compile(r"floats\[(\d+)\]")
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**63 - 1


class Field(NamedTuple):
    """A feature of one image as tf.Example keeps it; only the list of its type is used."""

    name: str
    kind: str
    texts: tuple[bytes, ...] = ()
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()


def check_name(name: str) -> None:
    """Raise UserError where no feature can be called that."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise UserError(
            f"--keep {name}: a feature is named with letters, digits, _, . and -, and not "
            f"{', '.join(_TAKEN)}"
        )


def kind_of(value: object) -> str:
    """The kind of a value from JSON; empty: it is null; raises ValueError for one of none."""
    if value is None:
        return ""
    if isinstance(value, int) and not _SMALLEST_INT <= value <= _LARGEST_INT:
        raise ValueError(f"{value} has more than 64 bits")
    for kind, of_kind in (("text", str), ("int", int), ("float", float)):
        if isinstance(value, of_kind):
            return kind
    if isinstance(value, list) and (kind := _kind_of_list(value)):
        return kind
    raise ValueError(f"{str(value)[:80]} is no text, number, list of these, or rows of numbers")


def _kind_of_list(values: list[Any]) -> str:
    if not values:
        return "list"
    if isinstance(values[0], list):
        width = len(values[0])
        rows = (isinstance(row, list) and len(row) == width for row in values)
        numbers = (isinstance(number, int | float) for row in values for number in row)
        return f"floats[{width}]" if all(rows) and all(numbers) else ""
    kind = ""
    for value in values:
        kind = joined(kind, kind_of(value))
    return f"{kind}s" if kind in ("text", "int", "float") and None not in values else ""


def joined(one: str, other: str) -> str:
    """The kind that holds values of both; raises ValueError where there is none."""
    kinds = {one, other} - {""}
    if len(kinds) < 2:
        return kinds.pop() if kinds else ""
    for narrow, wide in (("int", "float"), ("ints", "floats")):
        if kinds == {narrow, wide}:
            return wide
    lists = [kind for kind in kinds if kind.endswith(("s", "]"))]
    if "list" in kinds and lists:
        return lists[0]
    raise ValueError(f"it is {' and elsewhere '.join(sorted(kinds))}")


def field(name: str, kind: str, value: Any) -> Field:
    """A value as a feature; a missing text is empty, and so is a missing list.

    Raises:
        ValueError: a number is missing.
    """
    if kind in ("int", "float") and value is None:
        raise ValueError(f"it has no number for {name}: give it one, or leave {name} out of --keep")
    if kind in ("text", "int", "float"):
        values = [value if value is not None else ""]
    else:
        values = value or []
    if kind.startswith("text"):
        return Field(name, kind, texts=tuple(str(text).encode() for text in values))
    if _ROWS.fullmatch(kind):
        return Field(name, kind, floats=tuple(float(number) for row in values for number in row))
    if kind.startswith("float"):
        return Field(name, kind, floats=tuple(map(float, values)))
    return Field(name, kind, ints=tuple(map(int, values)))


def tfds_feature(kind: str) -> Any:
    """The feature of TFDS that reads fields of this kind."""
    import numpy as np
    import tensorflow_datasets as tfds

    if rows := _ROWS.fullmatch(kind):
        return tfds.features.Tensor(shape=(None, int(rows[1])), dtype=np.float32)
    scalar = {
        "text": tfds.features.Text(),
        "int": tfds.features.Scalar(dtype=np.int64),
        "float": tfds.features.Scalar(dtype=np.float32),
    }
    if kind in scalar:
        return scalar[kind]
    # of a field whose lists are all empty nothing says what they hold
    return tfds.features.Sequence(scalar[kind.removesuffix("s") if kind != "list" else "int"])
