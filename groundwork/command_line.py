"""Command lines made from typed dataclasses: parse, help, and how a command ends.

Nothing here imports TensorFlow or Beam: help and argument errors answer at once.

A dataclass may say what its command line looks like beyond its fields:

    COMMON: ClassVar[tuple[str, ...]]   the options that `--help` shows; `--help=all` shows all
    POSITIONAL: ClassVar[str]           the list that arguments without a name go to
    TAKES_OPTIONS: ClassVar[str]        the option whose value begins with dashes itself
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jsonargparse
import yaml

from groundwork import storage
from groundwork.errors import UserError, one_line
from groundwork.options import Option, options_of
from groundwork.recipes import (
    find_recipe,
    list_recipes,
    load_recipe,
    parse_yaml,
    refuse_class_paths,
)
from groundwork.stopping import exit_on_signals

Config = TypeVar("Config")

CONFIG_HELP = (
    "Recipe: a YAML file of these options, or the name of one that is shipped (--config list lists "
    "them). May be repeated; what comes later on the command line wins."
)

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


def parse(
    config_class: type[Config],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    default_config: str | None = None,
) -> Config:
    """Read a `config_class` from recipes (`--config`) and the command line, later ones winning.

    An option that holds a list takes several values (`--shots 1 5`) and may be repeated; `--flag`
    alone means true. `--help` prints and exits.

    Args:
        config_class: dataclass whose attribute docstrings document the options.
        argv: arguments; None: those of the process.
        prog: how the command is called, for the help text.
        default_config: recipe taken where the arguments name none.

    Raises:
        UserError: an unknown option, a wrong type, a missing value or file.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _check_unicode(arguments)
    _answer_questions(arguments, config_class, prog, default_config)
    if default_config and not any(arg.partition("=")[0] == "--config" for arg in arguments):
        arguments = ["--config", default_config, *arguments]
    parser = jsonargparse.ArgumentParser(prog=prog, exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(config_class)
    try:
        namespace = parser.parse_args(list(_Arguments(arguments, config_class, prog).named()))
    except jsonargparse.ArgumentError as error:
        raise UserError(f"{_plain(error, config_class)} (all options: {prog} --help)") from error
    namespace.pop("config")
    # as_dict: an option may be called `update`, as a method of the namespace is
    return config_class(**parser.instantiate(namespace).as_dict())


def to_yaml(config: Any) -> str:
    """The resolved `config` dataclass as YAML that `parse` reads back, its own fields first."""
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    own = inspect.get_annotations(type(config))
    ordered = sorted(values.items(), key=lambda item: item[0] not in own)
    return yaml.safe_dump(dict(ordered), sort_keys=False, allow_unicode=True)


def run_main(main: Callable[[], int | None]) -> None:
    """Run a command and exit; a `UserError` becomes one line on stderr and its exit status."""
    try:
        with exit_on_signals():
            status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        sys.exit(0)
    sys.exit(status or 0)


def help_text(
    config_class: type, prog: str, *, default_config: str | None = None, whole: bool = False
) -> str:
    """The help of a command: its commonest options, or the whole."""
    options = [option for option in options_of(config_class) if not option.group]
    common: tuple[str, ...] = getattr(config_class, "COMMON", ())
    width = min(100, shutil.get_terminal_size().columns)
    shown = options
    if common and not whole:
        by_name = {option.name: option for option in options_of(config_class)}
        shown = [by_name[name] for name in common]
    lines = [f"usage: {prog} {_usage(config_class)}", ""]
    description = inspect.getdoc(config_class) or ""
    lines += [*textwrap.wrap(" ".join(description.split()), width), ""]
    without = f" Without it: {default_config}." if default_config else ""
    lines += _entry("--config RECIPE", CONFIG_HELP + without, width)
    for option in shown:
        lines += _entry(_signature(option, config_class), _explained(option, config_class), width)
    if len(shown) < len(options):
        more = len(options) - len(shown)
        lines += ["", f"{more} more options: {prog} --help=all"]
    lines += ["--print_config prints the resolved recipe."] if whole or not common else []
    return "\n".join(lines)


def _check_unicode(arguments: Sequence[str]) -> None:
    """Raise a UserError for the name of a file that is no valid Unicode."""
    for argument in arguments:
        printable = os.fsencode(argument).decode("utf-8", "backslashreplace")
        if printable != argument:
            raise UserError(
                f"{printable} is no valid Unicode: rename it, or give a pattern with ? where the "
                "odd characters are"
            )


def _answer_questions(
    arguments: Sequence[str], config_class: type, prog: str, default_config: str | None
) -> None:
    """Print what `--help` and `--config list` ask for, and exit."""
    if any(arg in ("-h", "--help", "--help=all") for arg in arguments):
        whole = "--help=all" in arguments
        print(help_text(config_class, prog, default_config=default_config, whole=whole))
        sys.exit(0)
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    if any(pair == ("--config", "list") or pair[0] == "--config=list" for pair in pairs):
        print(list_recipes())
        sys.exit(0)


class _Arguments:
    """Turns what the user wrote into one `--name=value` for each option."""

    def __init__(self, arguments: Sequence[str], config_class: type, prog: str):
        self._rest = list(arguments)
        self._options = {option.name: option for option in options_of(config_class)}
        self._positional: str | None = getattr(config_class, "POSITIONAL", None)
        self._takes_options: str | None = getattr(config_class, "TAKES_OPTIONS", None)
        self._several: dict[str, list[str]] = {}
        self._all_options = f"(all options: {prog} --help)"

    def named(self) -> Iterator[str]:
        """The arguments, recipes read.

        Raises:
            UserError: an option that does not exist, or a value that belongs to none.
        """
        while self._rest:
            argument = self._rest.pop(0)
            if argument == "--print_config" or argument.startswith("--print_config="):
                yield argument
            elif argument.startswith("--"):
                name, equals, value = argument[2:].partition("=")
                yield from self._option(name, value if equals else None)
            elif self._positional is None:
                raise UserError(f"{argument!r} belongs to no option {self._all_options}")
            else:
                self._several.setdefault(self._positional, []).append(argument)
        for name, values in self._several.items():
            yield f"--{name}={_listed(values, self._options[name])}"

    def _option(self, name: str, value: str | None) -> Iterator[str]:
        if "class_path" in name:
            refuse_class_paths({"class_path": value}, f"--{name}")
        if name == "config":
            yield f"--config={_recipe(value or self._next(name), self._options)}"
            return
        option = self._options.get(name)
        if option is None:
            near = _nearest(name, self._options)
            raise UserError(f"there is no option --{name}{near} {self._all_options}")
        if option.takes_several:
            values = [value] if value is not None else self._following(name)
            self._several.setdefault(name, []).extend(values)
            return
        if value is None and option.is_flag:
            is_given = bool(self._rest) and self._rest[0].lower() in ("true", "false")
            value = self._rest.pop(0) if is_given else "true"
        elif value is None:
            value = self._next(name)
        if option.group and value.lstrip().startswith("{"):
            parse_yaml(value, f"--{name}")
        yield f"--{name}={value}"

    def _next(self, name: str) -> str:
        if not self._rest or (self._rest[0].startswith("--") and name != self._takes_options):
            raise UserError(f"--{name}: give a value")
        return self._rest.pop(0)

    def _following(self, name: str) -> list[str]:
        values = [self._next(name)]
        while self._rest and not self._rest[0].startswith("--"):
            values.append(self._rest.pop(0))
        return values


def _listed(values: list[str], option: Option) -> str:
    """Several values as the one text of a list."""
    if len(values) == 1:
        (value,) = values
        if value.lstrip().startswith("[") or value == "null" or option.takes_one:
            return value
    parts = [value if value.lstrip().startswith("{") else _scalar(value) for value in values]
    return f"[{', '.join(parts)}]"


def _scalar(value: str) -> str:
    """A value inside a YAML list: numbers as they are, words in quotes."""
    try:
        float(value)
    except ValueError:
        return json.dumps(value, ensure_ascii=False)
    return value


def _recipe(name: str, options: dict[str, Option]) -> str:
    """A recipe, by path, URL or name, or as YAML text, as YAML text; unknown keys are errors."""
    if "\n" in name or name.lstrip().startswith("{"):
        values, origin = parse_yaml(name, "the given options"), "the given options"
    elif storage.is_remote(name):
        values, origin = parse_yaml(_fetched(name), name), name
    else:
        path = find_recipe(name)
        values, origin = load_recipe(path), str(path)
    _check_keys(values, "", options, origin)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else "{}\n"


def _fetched(url: str) -> str:
    try:
        return storage.read_text(url)
    except FileNotFoundError as error:
        raise UserError(f"--config {url}: there is no such file") from error


def _check_keys(
    values: dict[str, Any], prefix: str, options: dict[str, Option], origin: str
) -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name not in options:
            raise UserError(f"{origin}: there is no option {name}{_nearest(name, options)}")
        if options[name].group and isinstance(value, dict):
            _check_keys(value, f"{name}.", options, origin)


def _nearest(name: str, options: dict[str, Option]) -> str:
    near = difflib.get_close_matches(name, options, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _plain(error: jsonargparse.ArgumentError, config_class: type) -> str:
    """jsonargparse's message in words that name the option, the value and what it takes."""
    message = one_line(error, None)
    options = {option.name: option for option in options_of(config_class)}
    wrong = re.search(r'Parser key "([\w.]+)":.*(?:Given value|Got value): (.*)', message)
    if wrong and wrong[1] in options:
        return f"{wrong[1]} is {wrong[2]}: it takes {options[wrong[1]].describe_type()}"
    missing = re.search(r"arguments are required: (.*)", message)
    if missing:
        return f"give --{missing[1].replace(', ', ' and --')}"
    return message


def _usage(config_class: type) -> str:
    positional = getattr(config_class, "POSITIONAL", None)
    return "[options]" + (f" {positional.upper()} …" if positional else "")


def _signature(option: Option, config_class: type) -> str:
    name = f"--{option.name}"
    if option.name == getattr(config_class, "POSITIONAL", None):
        name = option.name.upper()
    return name if option.is_flag else f"{name} {option.describe_type()}"


def _explained(option: Option, config_class: type) -> str:
    if option.default is None:
        return f"{option.help} (required)"
    return f"{option.help} (default: {option.default})" if option.default else option.help


def _entry(head: str, text: str, width: int) -> list[str]:
    indent = " " * 6
    return [
        f"  {head}",
        *textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent),
    ]
