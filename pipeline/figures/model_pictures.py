"""Pictures of what a ViT has learned, as Matplotlib figures (ViT paper, figures 7 and 11)."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import vit_keras

FILTERS = 28  # as in the paper's Figure 7


def weight_figures(model: Any) -> dict[str, Figure]:
    """Every picture of `model`'s weights that it allows, by name; none of another than a ViT."""
    figures: dict[str, Figure] = {}
    if not isinstance(model, vit_keras.VisionTransformer):
        return figures
    filters = vit_keras.embedding_filters(model, FILTERS)
    if filters.shape[-1] == 3:  # a hybrid's filters lie over a feature map, which has no colours
        figures["embedding_filters"] = filters_figure(filters)
    if model.positions and model.position_embedding != "relative":
        figures["position_similarity"] = similarity_figure(vit_keras.position_similarity(model))
    return figures


def distance_figure(distance: np.ndarray) -> Figure:
    """Mean attention distance `[blocks, heads]`, a point per head (Figure 7 right, Figure 11)."""
    blocks, heads = distance.shape
    axes = _axes((6, 4))
    for head in range(heads):
        axes.plot(
            range(1, blocks + 1),
            distance[:, head],
            "o",
            markersize=4.5,
            color=matplotlib.colormaps["viridis"](head / max(1, heads - 1)),
            label=f"{head + 1}",
            clip_on=False,  # a head that looks at its own patch alone stands on the axis
        )
    axes.set_xlabel("block")
    axes.set_ylabel("mean attention distance, pixels")
    axes.set_xlim(0.5, blocks + 0.5)
    axes.set_ylim(0, max(1e-6, 1.05 * float(distance.max())))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(title="head", loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, frameon=False)
    return _figure(axes)


def filters_figure(filters: np.ndarray) -> Figure:
    """Principal components `[count, h, w, 3]` as colour patches (Figure 7 left)."""
    scaled = filters / (2 * abs(filters).max(axis=(1, 2, 3), keepdims=True)) + 0.5
    axes = _axes((7, 4))
    axes.imshow(_tiled(scaled, columns=7))
    axes.set_title("principal components of the patch embedding")
    axes.axis("off")
    return _figure(axes)


def similarity_figure(similarity: np.ndarray) -> Figure:
    """`[rows, columns, rows, columns]`: for each patch, the map of its similarity with all others
    (Figure 7 centre)."""
    rows, columns = similarity.shape[:2]
    axes = _axes((7, 7 * rows / columns))
    tiles = similarity.reshape(rows * columns, rows, columns)
    drawn = axes.imshow(_tiled(tiles, columns), vmin=-1, vmax=1)
    axes.set_title("similarity of position embeddings")
    axes.axis("off")
    axes.figure.colorbar(drawn, label="cosine similarity", shrink=0.7)
    return _figure(axes)


def _figure(axes: Any) -> Figure:
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure


def _tiled(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles `[count, h, w, ...]` in rows of `columns`, a blank line between them."""
    count, height, width = tiles.shape[:3]
    lines = -(-count // columns)
    shape = (lines * (height + 1) - 1, columns * (width + 1) - 1, *tiles.shape[3:])
    canvas = np.full(shape, np.nan if tiles.ndim == 3 else 1.0, dtype=np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _axes(size: tuple[float, float]) -> Any:
    return Figure(figsize=size, layout="constrained").subplots()
