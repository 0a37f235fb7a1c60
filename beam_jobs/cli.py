"""Command lines made from typed dataclasses, and how a job ends.

Nothing here imports Apache Beam: help and argument errors answer at once.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import sys
import typing
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, TypeVar

import jsonargparse

from beam_jobs.logs import quiet_beam
from groundwork.errors import UserError

Options = TypeVar("Options")

JOB_FAILED = 1

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


def parse(options_class: type[Options], argv: Sequence[str] | None, *, prog: str) -> Options:
    """Read the options of a job from the command line and, with `--config`, a YAML file.

    An option that holds a list takes several values and may be repeated.

    Raises:
        UserError: an unknown option, a wrong type or a missing value.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for argument in arguments:
        if (printable := os.fsencode(argument).decode("utf-8", "backslashreplace")) != argument:
            raise UserError(
                f"{printable} is no valid Unicode: rename it, or give --input a pattern with ? "
                "where the odd characters are"
            )
    parser = jsonargparse.ArgumentParser(
        prog=prog, description=options_class.__doc__, exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file of the options below")
    parser.add_class_arguments(options_class)
    try:
        arguments = _flags(_join_beam_args(arguments), _fields(options_class, bool))
        namespace = parser.parse_args(_collect_lists(arguments, _fields(options_class, list)))
    except jsonargparse.ArgumentError as error:
        message = " ".join(str(error).split())
        raise UserError(f"{message} (all options: {prog} --help)") from error
    namespace.pop("config")
    # as_dict: an option may be called `update`, as a method of the namespace is
    return options_class(**parser.instantiate(namespace).as_dict())


def run_main(module: str) -> NoReturn:
    """Run a job's `main` and leave the process; the user's errors become one line on stderr.

    The module is imported by its name, also where it is what `python -m` runs: Beam's workers would
    not find what is defined in `__main__`.

    Exit status: 0 done, 1 the job failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM. The process is left
    at once, since threads of a runner that was stopped midway may never end.
    """
    signal.signal(signal.SIGTERM, _terminate)
    quiet_beam()
    status = 0
    try:
        importlib.import_module(module).main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print("stopped: the same command goes on where it was", file=sys.stderr)
        status = 128 + signal.SIGINT
    except SystemExit as end:  # --help and SIGTERM
        status = end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os._exit(0)
    except Exception:  # a defect of ours: the traceback is what helps
        import traceback

        traceback.print_exc()
        status = JOB_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    print("terminated: the same command goes on where it was", file=sys.stderr)
    raise SystemExit(128 + signum)


def _fields(options_class: type, kind: type) -> set[str]:
    """Options whose type is `kind`, or a `kind` of something."""
    hints = typing.get_type_hints(options_class)
    names = [field.name for field in dataclasses.fields(options_class)]
    return {f"--{n}" for n in names if kind in (hints[n], typing.get_origin(hints[n]))}


def _join_beam_args(arguments: list[str]) -> list[str]:
    """Let the value of `--beam_args` begin with a dash, as all of Beam's options do."""
    if "--beam_args" not in arguments[:-1]:
        return arguments
    place = arguments.index("--beam_args")
    return [*arguments[:place], "=".join(arguments[place : place + 2]), *arguments[place + 2 :]]


def _flags(arguments: list[str], flags: set[str]) -> list[str]:
    """Let `--flag` stand for `--flag true`."""
    following = [*arguments[1:], ""]
    return [
        f"{argument}=true"
        if argument in flags and after.lower() not in ("true", "false")
        else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _collect_lists(arguments: list[str], lists: set[str]) -> list[str]:
    """Turn `--input a b --input c` into one argument, the way jsonargparse takes a list."""
    collected: dict[str, list[str]] = {}
    rest: list[str] = []
    current: list[str] | None = None
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in lists:
            current = collected.setdefault(name, [])
            current.extend([value] if equals else [])
        elif current is not None and not argument.startswith("--"):
            current.append(argument)
        else:
            current = None
            rest.append(argument)
    return rest + [f"{name}={json.dumps(values)}" for name, values in collected.items()]
