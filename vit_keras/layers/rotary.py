"""Rotary position embedding (RoPE) on a grid of patches."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

Rope = Literal["normalized", "grid"]


def rotary_table(
    grid: tuple[int, int],
    head_dim: int,
    num_prefix: int,
    coordinates: Rope,
    temperature: float,
    reference: int | None = None,
) -> np.ndarray:
    """Cosines and sines by which query and key of each token are rotated.

    The channels of a head are cut in pairs; a quarter of the channels' number of angles belongs to
    the row, a quarter to the column. Tokens before the patches are not rotated.

    Args:
        grid: rows and columns of patches.
        head_dim: channels of a head, a multiple of 4.
        num_prefix: tokens before the patches.
        coordinates: "normalized": centers of the patches on [-1, 1] per axis, whatever the grid's
            size; a pair is channel k and channel k + head_dim/2 (DINOv3, section 3.2, and its
            code). "grid": patch numbers from 0; a pair is two neighbors (EVA-02, section 2).
        temperature: ratio of the longest period to the shortest.
        reference: "grid": patches per side of the pre-training grid, to which the numbers are
            scaled; None: as they are.

    Returns:
        `[2, num_prefix + rows·columns, head_dim]` float32: cosines, then sines.

    Raises:
        ValueError: head_dim is no multiple of 4.
    """
    if head_dim % 4:
        raise ValueError(f"rope needs heads of a multiple of 4 channels; got {head_dim}.")
    frequencies = temperature ** -(np.arange(head_dim // 4) / (head_dim // 4))
    lines = []
    for count in grid:
        line = np.arange(count, dtype=np.float64)
        if coordinates == "normalized":
            line = 2 * np.pi * (2 * (line + 0.5) / count - 1)
        elif reference is not None:
            line = line / count * reference
        lines.append(line)
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    angles = (places[..., None] * frequencies).reshape(grid[0] * grid[1], head_dim // 2)
    if coordinates == "normalized":
        angles = np.concatenate([angles, angles], axis=-1)
    else:
        angles = np.repeat(angles, 2, axis=-1)
    angles = np.concatenate([np.zeros((num_prefix, head_dim)), angles])
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def rotate(x: Any, table: Any, neighbors: bool) -> Any:
    """Rotate the pairs of channels of `[batch, heads, tokens, head_dim]`.

    Args:
        x: queries or keys.
        table: of `rotary_table`.
        neighbors: whether a pair is two neighbors, rather than k and k + head_dim/2.

    Returns:
        The same shape and dtype; the products are taken in float32 at least.
    """
    dtype = keras.backend.result_type(x.dtype, "float32")
    wide, (cosines, sines) = ops.cast(x, dtype), ops.unstack(ops.cast(table, dtype), 2)
    if neighbors:
        turned = ops.stack([-wide[..., 1::2], wide[..., ::2]], axis=-1)
        turned = ops.reshape(turned, (-1, *wide.shape[1:]))
    else:
        half = wide.shape[-1] // 2
        turned = ops.concatenate([-wide[..., half:], wide[..., :half]], axis=-1)
    return ops.cast(wide * cosines + turned * sines, x.dtype)
