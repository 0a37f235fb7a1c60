"""How one weight of a model lies in a file: its arrays' names, and the way there and back.

Every layout is a list of rules made from a model's config, so that reading and writing are one
description and cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Rule:
    """One weight.

    Attributes:
        path: the weight's `.path` in the model, without the model's name.
        keys: names of the file's arrays that hold it.
        write: the weight to those arrays.
        read: those arrays to the weight. Exactly undoes `write`.
    """

    path: str
    keys: tuple[str, ...]
    write: Callable[[np.ndarray], Sequence[np.ndarray]]
    read: Callable[[Sequence[np.ndarray]], np.ndarray]


def same(path: str, key: str) -> Rule:
    """The weight as it is."""
    return Rule(path, (key,), lambda w: [w], lambda arrays: arrays[0])


def reshaped(path: str, key: str, in_file: Sequence[int], in_model: Sequence[int]) -> Rule:
    """The weight in another shape; -1 is what is left over."""
    return Rule(
        path, (key,), lambda w: [w.reshape(in_file)], lambda arrays: arrays[0].reshape(in_model)
    )


def transposed(path: str, key: str, axes: Sequence[int] = (1, 0)) -> Rule:
    """The weight with its axes in another order; `axes` leads from the model to the file."""
    back = np.argsort(axes)
    return Rule(
        path, (key,), lambda w: [w.transpose(axes)], lambda arrays: arrays[0].transpose(back)
    )


def convolution(path: str, key: str) -> Rule:
    """A kernel that PyTorch keeps as (out, in, height, width)."""
    return transposed(path, key, (3, 2, 0, 1))


def dense(path: str, key: str) -> list[Rule]:
    """Kernel and bias that PyTorch keeps as `weight`, (out, in), and `bias`."""
    return [
        transposed(f"{path}/kernel", f"{key}.weight"),
        same(f"{path}/bias", f"{key}.bias"),
    ]


def norm(path: str, key: str, scale: str = ".weight", offset: str = ".bias") -> list[Rule]:
    """Scale and offset of a normalization."""
    return [same(f"{path}/gamma", f"{key}{scale}"), same(f"{path}/beta", f"{key}{offset}")]


def side_by_side(
    path: str,
    keys: Sequence[str],
    to_file: Callable[[np.ndarray], np.ndarray],
    to_model: Callable[[np.ndarray], np.ndarray],
) -> Rule:
    """Parts side by side on the last axis of the weight, such as query, key and value, each an
    array of its own in the file."""
    return Rule(
        path,
        tuple(keys),
        lambda w: [to_file(part) for part in np.split(w, len(keys), axis=-1)],
        lambda arrays: np.concatenate([to_model(a) for a in arrays], axis=-1),
    )
