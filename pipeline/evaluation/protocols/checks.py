"""Checks of options that types cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from groundwork.errors import UserError


def check_positive(name: str, values: Sequence[float]) -> None:
    """Raise a UserError unless there is at least one value and all are above 0."""
    if not values or min(values) <= 0:
        shown = values[0] if len(values) == 1 else list(values)
        raise UserError(f"{name} is {shown}: give positive numbers, such as --{name} 5")


def check_seeds(name: str, seeds: Sequence[int]) -> None:
    """Raise a UserError unless there is at least one seed and none is there twice."""
    if not seeds:
        raise UserError(f"{name} is empty: give at least one, such as --{name} 0 1 2")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{name} is {list(seeds)}: a seed that is there twice adds nothing")
