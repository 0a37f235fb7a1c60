"""Which file of a folder or repository holds its weights."""

from __future__ import annotations

from collections.abc import Sequence

WEIGHTS = (".safetensors", ".npz", ".keras")
"""Endings of files of weights, the one to take first."""

_MOST_NAMED = 12


def choose_weights(names: Sequence[str], source: str) -> str:
    """Which of the files of a folder holds its weights.

    Raises:
        ValueError: none does, or more than one may be meant.
    """
    for ending in WEIGHTS:
        found = [name for name in names if name.endswith(ending) and "/" not in name]
        if f"model{ending}" in found:
            return f"model{ending}"
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{source} holds {', '.join(found)}: name one of them")
    if any(name.endswith(".safetensors.index.json") for name in names):
        raise ValueError(f"{source}: weights in several files are not read: name a smaller model")
    raise ValueError(
        f"{source} holds no weights ({', '.join(WEIGHTS)}), but "
        f"{', '.join(names[:_MOST_NAMED]) or 'nothing'}"
    )
