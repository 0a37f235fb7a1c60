"""Recipes: YAML files of options, by path or by name, each perhaps an extension of another.

A recipe may begin with `extends: FILE` (or a list of files), relative to itself: what it says then
comes on top of what they say.
"""

from __future__ import annotations

import copy
import itertools
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from groundwork.errors import UserError, one_line

EXTENDS = "extends"
PACKAGE = "configs"
SUFFIX = ".yaml"
Values = dict[str, Any]


def recipe_folder() -> Path:
    """The folder of the recipes that are shipped."""
    return Path(str(resources.files(PACKAGE)))


def recipe_names() -> list[str]:
    """Names of the recipes that are shipped, such as imagenet1k/b16_augreg.

    A file whose name begins with `_` holds what others extend, and is none.
    """
    folder = recipe_folder()
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    return [
        path.relative_to(folder).with_suffix("").as_posix()
        for path in paths
        if not path.name.startswith("_")
    ]


def list_recipes() -> str:
    """Each shipped recipe's name and the first paragraph of its comment, a recipe a line."""
    names = recipe_names()
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}  {_first_paragraph(name)}" for name in names)


def _first_paragraph(name: str) -> str:
    lines = (recipe_folder() / f"{name}{SUFFIX}").read_text(encoding="utf-8").splitlines()
    comment = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return " ".join(itertools.takewhile(bool, comment))


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path that exists, or the name of one that is shipped.

    Raises:
        UserError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = name.removeprefix(f"{PACKAGE}/").removesuffix(SUFFIX)
    found = recipe_folder() / f"{shipped}{SUFFIX}"
    if found.is_file():
        return found
    raise UserError(
        f"--config {name}: there is no such file, and no recipe of that name; "
        "`--config list` lists those that are shipped"
    )


def load_recipe(path: Path) -> Values:
    """The values of a recipe, with those of what it extends beneath.

    Raises:
        UserError: not YAML, or no mapping of options.
    """
    values = parse_yaml(_read(path), str(path))
    bases = values.pop(EXTENDS, [])
    merged: Values = {}
    for base in [bases] if isinstance(bases, str) else bases:
        beneath = path.parent / base
        if not beneath.is_file():
            raise UserError(f"{path}: it extends {base}, which is not there")
        merged = merge(merged, load_recipe(beneath))
    return merge(merged, values)


def parse_yaml(text: str, origin: str) -> Values:
    """Parse a mapping of options; `origin` names it in errors.

    Raises:
        UserError: not YAML, no mapping, or one that asks for a class by its path.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{origin} is not YAML: {one_line(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{origin}: expected options as `name: value` lines")
    refuse_class_paths(values, origin)
    return values


def refuse_class_paths(values: object, origin: str) -> None:
    """Raise a UserError where `values` name a class to import: a recipe holds values only."""
    if isinstance(values, dict):
        if "class_path" in values:
            raise UserError(
                f"{origin}: class_path is not taken: a recipe holds values, not classes to import"
            )
        for value in values.values():
            refuse_class_paths(value, origin)
    elif isinstance(values, list):
        for value in values:
            refuse_class_paths(value, origin)


def merge(base: Values, over: Values) -> Values:
    """`over` on top of `base`, mapping by mapping."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        beneath = merged.get(key)
        if isinstance(value, dict) and isinstance(beneath, dict):
            merged[key] = merge(beneath, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error
