"""Position embeddings for another grid, patch embeddings for another patch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from keras import ops

Array = Any
"""An array of NumPy, or a tensor of Keras' backend."""
Method = Literal["bilinear", "bilinear_centers", "bicubic", "bicubic_antialias"]


def resample_grid(grid: Array, size: tuple[int, int], method: Method = "bilinear") -> Array:
    """Resample a grid of vectors.

    Args:
        grid: `[rows, columns, width]`, an array of NumPy or a tensor of Keras' backend.
        size: rows and columns of the result.
        method: "bilinear": corners stay corners, as `scipy.ndimage.zoom(order=1)` in the official
            code (vision_transformer, checkpoint.py). The others keep the cells' centers, as
            PyTorch's `interpolate`: "bilinear_centers" (FlexiViT), "bicubic" (Hugging Face) and
            "bicubic_antialias" (timm; its filter widens where the grid shrinks).

    Returns:
        `[*size, width]`, of the grid's dtype; the grid itself where the size is the same.

    Raises:
        ValueError: an unknown method.
    """
    if tuple(grid.shape[:2]) == tuple(size):
        _matrix(1, 1, method)
        return grid
    rows, columns = (
        _matrix(old, new, method) for old, new in zip(grid.shape[:2], size, strict=True)
    )
    return _along_both("ij,jkd,lk->ild", rows, grid, columns)


def resample_line(line: Array, length: int, method: Method = "bilinear") -> Array:
    """The same for one axis: `[old, width]` to `[length, width]`."""
    return resample_grid(line[:, None], (length, 1), method)[:, 0]


def resample_patches(
    kernel: Array, size: tuple[int, int], method: Method = "bilinear_centers"
) -> Array:
    """Resample a patch embedding's kernel, so that resized patches give what the old ones gave.

    By the pseudo-inverse of the resizing (FlexiViT, arXiv 2212.08013, section 3.4, "PI-resize"):
    exact where patches grow, the best in the mean square where they shrink.

    Args:
        kernel: `[height, width, channels, features]`, of NumPy or of Keras' backend.
        size: new height and width of a patch, in pixels.
        method: how the pixels of a patch are resized; see `resample_grid`.

    Returns:
        `[*size, channels, features]`, of the kernel's dtype; the kernel itself where the size is
        the same.
    """
    if tuple(kernel.shape[:2]) == tuple(size):
        return kernel
    rows, columns = (
        np.linalg.pinv(_matrix(old, new, method).T)
        for old, new in zip(kernel.shape[:2], size, strict=True)
    )
    return _along_both("ij,jkcd,lk->ilcd", rows, kernel, columns)


def _along_both(product: str, rows: np.ndarray, values: Array, columns: np.ndarray) -> Array:
    """Multiply by the matrices of two axes, arrays in float64."""
    if isinstance(values, np.ndarray):
        return np.einsum(product, rows, values, columns, optimize=True).astype(values.dtype)
    rows, columns = (ops.cast(matrix, values.dtype) for matrix in (rows, columns))
    return ops.einsum(product, rows, values, columns)


def _matrix(old: int, new: int, method: Method) -> np.ndarray:
    """Weights `[new, old]` of a resampling of one axis."""
    if method == "bilinear":
        return _corners(old, new)
    if method not in _KERNELS:
        known = ", ".join(("bilinear", *_KERNELS))
        raise ValueError(f"method must be one of {known}; got {method!r}.")
    kernel, radius, antialias = _KERNELS[method]
    return _centers(old, new, kernel, radius, antialias)


def _corners(old: int, new: int) -> np.ndarray:
    """Linear interpolation whose first and last points stay in place."""
    position = np.linspace(0, old - 1, new) if new > 1 else np.zeros(1)
    return _triangle(position[:, None] - np.arange(old))


def _centers(
    old: int, new: int, kernel: Callable[[np.ndarray], np.ndarray], radius: int, antialias: bool
) -> np.ndarray:
    """Convolution with a kernel around the new cells' centers.

    With antialiasing the kernel is as wide as a new cell, and what lies outside counts for nothing;
    without it, the edge is repeated.
    """
    position = (np.arange(new) + 0.5) * old / new - 0.5
    if antialias:
        scale = max(1.0, old / new)
        widened = kernel((position[:, None] - np.arange(old)) / scale)
        normalized: np.ndarray = widened / widened.sum(axis=1, keepdims=True)
        return normalized
    weights = np.zeros((new, old))
    first = np.floor(position).astype(int) - radius + 1
    for tap in range(2 * radius):
        index = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), index), kernel(position - (first + tap)))
    return weights


def _triangle(distance: np.ndarray) -> np.ndarray:
    weight: np.ndarray = np.maximum(0, 1 - np.abs(distance))
    return weight


def _keys(distance: np.ndarray, a: float) -> np.ndarray:
    """Cubic convolution (Keys, "Cubic Convolution Interpolation")."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


# Kernel, its radius, whether it widens. PyTorch has another a with antialiasing, that of Pillow.
_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int, bool]] = {
    "bilinear_centers": (_triangle, 1, False),
    "bicubic": (lambda d: _keys(d, -0.75), 2, False),
    "bicubic_antialias": (lambda d: _keys(d, -0.5), 2, True),
}
