"""Names and arguments of Keras' optimizers, read from its source: importing it takes seconds."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from groundwork.errors import UserError
from pipeline.training.optimizers.optim_config import OptimConfig

PREFIX = "keras."
OWN = ("adamw", "sgd", "adafactor", "lamb", "schedule_free_adamw")
WITH_MOMENT_DTYPE = ("adamw", "sgd", "adafactor", "lamb")
"""Those whose first moment may be stored in bfloat16."""
OF_OWN_ALONE = ("momentum", "beta1", "beta2", "epsilon", "moment_dtype")
LEFT_OUT = ("Nadam", "ScheduleFreeAdamW")
"""Nadam multiplies a number outside of its `update_step`, where it knows of one replica alone; of
Schedule-Free AdamW there is an exact one here."""
OF_THE_PROJECT = r"^learning_rate$|^warmup_steps$|weight_decay$|^exclude_"
"""Arguments that options of the project stand for."""


def check_optimizer(config: OptimConfig) -> None:
    """Raise a UserError for a name or an argument that no optimizer has."""
    name, options = config.optimizer, config.keras_options
    if name in OWN:
        if options:
            raise UserError(f"optim.keras_options are of optimizers of Keras, not of {name}")
        if name not in WITH_MOMENT_DTYPE and config.moment_dtype != "float32":
            raise UserError(f"optim.moment_dtype={config.moment_dtype} is not for {name}")
        if name == "schedule_free_adamw" and not config.beta1:
            raise UserError(f"optim.beta1 is 0: of {name} it must be greater")
        return
    known = keras_arguments()
    arguments = known.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if arguments is None:
        names = [*OWN, *(PREFIX + one for one in known)]
        raise UserError(f"optim.optimizer is {name}{_instead(name, names)}")
    for key, value in options.items():
        if key not in arguments:
            raise UserError(f"optim.keras_options: {name} has no {key}{_instead(key, arguments)}")
        kind = bool if isinstance(arguments[key], bool) else int if key.endswith("steps") else None
        if isinstance(value, bool) != (kind is bool) or (kind is int and type(value) is not int):
            raise UserError(f"optim.keras_options.{key} is {value}: give such as {arguments[key]}")
    for field in fields(OptimConfig):
        if field.name in OF_OWN_ALONE and getattr(config, field.name) != field.default:
            raise UserError(
                f"optim.{field.name} is not for {name}: its optim.keras_options are "
                f"{', '.join(arguments)}"
            )


@functools.cache
def keras_arguments() -> dict[str, dict[str, object]]:
    """Of each optimizer of Keras, by its name, the arguments of its own with their defaults.

    Left out is what the options of the project say, for all optimizers.
    """
    package = importlib.util.find_spec("keras")
    assert package and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0]) / "src/optimizers"
    common = _arguments(folder / "base_optimizer.py")["BaseOptimizer"]
    found = {}
    for path in sorted(folder.glob("*.py")):
        for name, arguments in _arguments(path).items():
            if "learning_rate" in arguments and name not in LEFT_OUT:  # without, it wraps others
                own = {key: value for key, value in arguments.items() if key not in common}
                found[name] = {k: v for k, v in own.items() if not re.search(OF_THE_PROJECT, k)}
    return found


def _arguments(path: Path) -> dict[str, dict[str, object]]:
    """Of each class in a file, by name, the arguments of `__init__` that have a default."""
    found: dict[str, dict[str, object]] = {}
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for part in (part for part in body if isinstance(part, ast.ClassDef)):
        for method in part.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                names = reversed([argument.arg for argument in method.args.args])
                pairs = list(zip(names, reversed(method.args.defaults), strict=False))
                found[part.name] = {
                    name: value.value if isinstance(value, ast.Constant) else ast.unparse(value)
                    for name, value in reversed(pairs)
                }
    return found


def _instead(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else f": choose from {', '.join(names)}"
