"""Names that TensorFlow reads as patterns."""

from __future__ import annotations

from groundwork.errors import UserError

WILDCARDS = "*?[\\"


def refuse_wildcards(path: str, what: str) -> None:
    """Raise a UserError where TensorFlow would take `path`, of the option `what`, for a pattern."""
    if any(character in path for character in WILDCARDS):
        raise UserError(
            f"{what} {path}: TensorFlow reads {' '.join(WILDCARDS)} in a path as a pattern, and "
            "would find other files, or none: choose a name without them"
        )
