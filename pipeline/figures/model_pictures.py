"""Pictures of what a ViT has learned, as Matplotlib figures (ViT paper, figures 7 and 11)."""

from __future__ import annotations

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

import vit_keras

Floats = NDArray[np.floating]

FILTERS = 28  # as in the paper's Figure 7


def weight_figures(model: keras.Model) -> dict[str, Figure]:
    """Every picture of `model`'s weights that it allows, by name; none of another than a ViT."""
    figures: dict[str, Figure] = {}
    if not isinstance(model, vit_keras.VisionTransformer):
        return figures
    filters = vit_keras.embedding_filters(model, FILTERS)
    if filters.shape[-1] == 3:  # a hybrid's filters lie over a feature map, which has no colors
        figures["embedding_filters"] = filters_figure(filters)
    if model.positions and model.position_embedding != "relative":
        figures["position_similarity"] = similarity_figure(vit_keras.position_similarity(model))
    return figures


def distance_figure(distance: Floats) -> Figure:
    """Mean attention distance `[blocks, heads]`, a point per head (Figure 7 right, Figure 11)."""
    figure, axes = _figure((6, 4))
    blocks, heads = distance.shape
    numbers = np.arange(1, blocks + 1)
    places = np.repeat(numbers, heads)
    axes.scatter(places, distance.ravel(), s=18, alpha=0.6, clip_on=False, label="one head")
    mean = distance.mean(axis=1)
    axes.plot(numbers, mean, "_-", color="0.4", linewidth=1, label="mean of the heads")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, blocks + 0.5)
    axes.set_xlabel("block")
    axes.set_ylabel("mean attention distance, pixels")
    axes.set_ylim(0, max(1e-6, 1.08 * float(distance.max())))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def filters_figure(filters: Floats) -> Figure:
    """Principal components `[count, h, w, 3]` as color patches (Figure 7 left)."""
    scaled = filters / (2 * abs(filters).max(axis=(1, 2, 3), keepdims=True)) + 0.5
    figure, axes = _figure((7, 4))
    axes.imshow(_tiled(scaled, columns=7))
    axes.set_title("principal components of the patch embedding")
    axes.axis("off")
    return figure


def similarity_figure(similarity: Floats) -> Figure:
    """`[rows, columns, rows, columns]`: for each patch, the map of its similarity with all others
    (Figure 7 center)."""
    rows, columns = similarity.shape[:2]
    figure, axes = _figure((7, 7 * rows / columns))
    tiles = similarity.reshape(rows * columns, rows, columns)
    drawn = axes.imshow(_tiled(tiles, columns), vmin=-1, vmax=1)
    axes.set_title("similarity of position embeddings")
    axes.axis("off")
    figure.colorbar(drawn, label="cosine similarity", shrink=0.7)
    return figure


def _tiled(tiles: Floats, columns: int) -> Floats:
    """Tiles `[count, h, w, ...]` in rows of `columns`, a blank line between them."""
    count, height, width = tiles.shape[:3]
    lines = -(-count // columns)
    shape = (lines * (height + 1) - 1, columns * (width + 1) - 1, *tiles.shape[3:])
    canvas = np.full(shape, np.nan if tiles.ndim == 3 else 1.0, dtype=np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()
