"""Command lines made from typed dataclasses: parse, report the user's errors in one line."""

from __future__ import annotations

import difflib
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import jsonargparse
import yaml

from groundwork.errors import UserError, one_line

Config = TypeVar("Config")

REPOSITORY = Path(__file__).resolve().parent.parent

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


def parse(
    config_class: type[Config],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    default_config: str | None = None,
) -> Config:
    """Read a `config_class` from YAML files (`--config`) and the command line, later ones winning.

    Args:
        config_class: dataclass whose attribute docstrings document the options.
        argv: arguments; None: those of the process.
        prog: how the command is called, for the help text.
        default_config: YAML file taken where the arguments name no `--config`, relative to the
            repository.

    Raises:
        UserError: an unknown key, a wrong type, a missing value or file.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = any(arg == "--config" or arg.startswith("--config=") for arg in arguments)
    if default_config and not named:
        arguments = ["--config", str(REPOSITORY / default_config), *arguments]
    parser = _parser(config_class, prog, default_config)
    try:
        namespace = parser.parse_args(_with_flags(arguments, config_class))
    except jsonargparse.ArgumentError as error:
        message = one_line(error, None) + _suggestion(str(error), parser)
        raise UserError(f"{message} (all options: {prog} --help)") from error
    namespace.pop("config")
    return config_class(**vars(parser.instantiate(namespace)))


def to_yaml(config: object) -> str:
    """The resolved `config` dataclass as YAML that `parse` reads back."""
    return yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False)  # type: ignore[call-overload]


def run_main(main: Callable[[], int | None]) -> None:
    """Run a command and exit; a `UserError` becomes one line on stderr and its exit status."""
    try:
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


def _parser(
    config_class: type, prog: str, default_config: str | None
) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(
        prog=prog, description=config_class.__doc__, exit_on_error=False
    )
    without = f"; without it, {default_config}" if default_config else ""
    parser.add_argument(
        "--config",
        action="config",
        help=f"YAML file of the options below; options after it on the command line win{without}",
    )
    parser.add_class_arguments(config_class)
    return parser


def _with_flags(arguments: Sequence[str], config_class: type) -> list[str]:
    """Let `--flag` stand for `--flag true`, for the yes-or-no options of `config_class` itself."""
    flags = {f"--{field.name}" for field in fields(config_class) if field.type in (bool, "bool")}
    following = [*arguments[1:], ""]
    return [
        f"{argument}=true"
        if argument in flags and after.lower() not in ("true", "false")
        else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _suggestion(message: str, parser: jsonargparse.ArgumentParser) -> str:
    words = [word for word in message.split() if word.startswith("--")]
    known = [option for action in parser._actions for option in action.option_strings]
    for word in words:
        if "unrecognized" in message and (near := difflib.get_close_matches(word, known, n=1)):
            return f"; did you mean {near[0]}?"
    return ""
