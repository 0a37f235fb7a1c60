"""The options that a dataclass describes: names, types, defaults and help, read from its fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any

import docstring_parser


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command line.

    Attributes:
        name: dotted, such as optim.peak_lr.
        type: as the field is annotated, resolved.
        default: text of the default; None: the option has to be given.
        help: whole sentences.
        group: whether it is a dataclass, whose fields are options too.
    """

    name: str
    type: Any
    default: str | None
    help: str
    group: bool

    @property
    def is_flag(self) -> bool:
        """Whether `--name` alone means true."""
        return self.type is bool

    @property
    def takes_several(self) -> bool:
        """Whether it takes several values, one after the other."""
        return any(typing.get_origin(kind) in (list, tuple) for kind in _alternatives(self.type))

    @property
    def takes_one(self) -> bool:
        """Whether one value alone is not a list of one."""
        return any(typing.get_origin(kind) not in (list, tuple) for kind in self._values())

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; empty: anything of its type."""
        kinds = [part for kind in self._values() for part in (kind, *typing.get_args(kind))]
        return tuple(
            str(word)
            for kind in kinds
            if typing.get_origin(kind) is typing.Literal
            for word in typing.get_args(kind)
        )

    def _values(self) -> list[Any]:
        return [kind for kind in _alternatives(self.type) if kind is not types.NoneType]

    def describe_type(self) -> str:
        """Its type as people read it."""
        if self.choices:
            return "|".join(self.choices)
        return "|".join(dict.fromkeys(_words(kind) for kind in self._values()))


@functools.cache
def options_of(config_class: type) -> tuple[Option, ...]:
    """The options of a dataclass, those of nested dataclasses after each; its own fields first."""
    return tuple(_options(config_class, ""))


def _options(config_class: type, prefix: str) -> Iterator[Option]:
    hints, texts = _type_hints(config_class), _help_texts(config_class)
    own = inspect.get_annotations(config_class)
    fields = dataclasses.fields(config_class)
    for field in sorted(fields, key=lambda field: field.name not in own):
        kind = hints[field.name]
        nested = [part for part in _alternatives(kind) if dataclasses.is_dataclass(part)]
        name = prefix + field.name
        text = texts.get(field.name, "")
        if nested and not text:
            text = inspect.getdoc(nested[0]) or ""
        yield Option(name, kind, _default(field), " ".join(text.split()), bool(nested))
        for part in nested:
            assert isinstance(part, type)
            yield from _options(part, f"{name}.")


def _type_hints(config_class: type) -> dict[str, Any]:
    return typing.get_type_hints(config_class)


def _help_texts(config_class: type) -> dict[str, str]:
    """Docstrings of the fields; those of a subclass win over its parents'."""
    texts: dict[str, str] = {}
    for part in reversed(config_class.__mro__):
        if dataclasses.is_dataclass(part):
            parsed = docstring_parser.parse_from_object(part)
            texts |= {param.arg_name: param.description or "" for param in parsed.params}
    return texts


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default is not dataclasses.MISSING:
        return "null" if field.default is None else str(field.default)
    if field.default_factory is dataclasses.MISSING:
        return None
    made = field.default_factory()
    if dataclasses.is_dataclass(made):
        return ""
    return " ".join(map(str, made)) if isinstance(made, list) else str(made)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _words(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin in (list, tuple):
        inner = [part for part in typing.get_args(kind) if part is not Ellipsis]
        return " ".join(map(_words, inner)) + (" …" if origin is list else "")
    return getattr(kind, "__name__", str(kind))
