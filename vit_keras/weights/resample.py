"""Position embeddings for another grid."""

from __future__ import annotations

from typing import Literal

import numpy as np

Method = Literal["bilinear", "bicubic"]


def resample_grid(
    grid: np.ndarray, size: tuple[int, int], method: Method = "bilinear"
) -> np.ndarray:
    """Resample a grid of vectors.

    Args:
        grid: `[rows, columns, width]`.
        size: rows and columns of the result.
        method: "bilinear": corners stay corners, as `scipy.ndimage.zoom(order=1)` in the official
            code (vision_transformer, checkpoint.py). "bicubic": cells keep their centres, as
            PyTorch's `interpolate`, which timm and Hugging Face use.

    Returns:
        `[*size, width]`, of the grid's dtype; the grid itself where the size is the same.

    Raises:
        ValueError: an unknown method.
    """
    if method not in _MATRICES:
        raise ValueError(f"method must be one of {', '.join(_MATRICES)}; got {method!r}.")
    if tuple(grid.shape[:2]) == tuple(size):
        return grid
    rows, columns = (
        _MATRICES[method](old, new) for old, new in zip(grid.shape[:2], size, strict=True)
    )
    return np.einsum("ij,jkd,lk->ild", rows, grid, columns).astype(grid.dtype)


def resample_line(line: np.ndarray, length: int, method: Method = "bilinear") -> np.ndarray:
    """The same for one axis: `[old, width]` to `[length, width]`."""
    return resample_grid(line[:, None], (length, 1), method)[:, 0]


def _bilinear(old: int, new: int) -> np.ndarray:
    """Weights `[new, old]` of linear interpolation whose first and last points stay in place."""
    position = np.linspace(0, old - 1, new) if new > 1 else np.zeros(1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))


def _bicubic(old: int, new: int) -> np.ndarray:
    """Weights `[new, old]` of cubic convolution (Keys, a = -0.75), edges repeated."""
    position = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(position).astype(int) - 1
    weights = np.zeros((new, old))
    for tap in range(4):
        index = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), index), _keys(position - (first + tap)))
    return weights


def _keys(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


_MATRICES = {"bilinear": _bilinear, "bicubic": _bicubic}
