"""Pictures of what an exported ViT has learned (ViT paper, figures 6, 7 and 11)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf
from matplotlib.figure import Figure

import vit_keras
from pipeline.errors import UserError
from pipeline.evaluation.attention_picture import draw_attention
from pipeline.evaluation.plots import save
from pipeline.serving.loading import Export, open_export
from vit_keras import VisionTransformer

BATCH = 8  # images whose attention weights are held at once: 0.2 GB for B/16 at 224 pixels
FILTERS = 28  # as in the paper's Figure 7


def inspect(
    model_folder: str, paths: Sequence[Path], output: Path, *, shown_images: int
) -> tuple[dict[str, Path], list[str]]:
    """Draw everything that the model allows, to PNG files and TensorBoard.

    Args:
        model_folder: export folder.
        paths: image files; attention distance is the mean over all of them.
        output: folder for the pictures, `inspection.json` and `tensorboard/`.
        shown_images: images to draw attention over, the first of `paths`.

    Returns:
        The pictures by name, and the names of images that could not be read.

    Raises:
        UserError: no plain ViT, or no image could be read.
    """
    export = open_export(model_folder)
    model = _plain_vit(export, model_folder)
    images, names, skipped = _read(export, paths)
    if not names:
        raise UserError(f"none of the {len(paths)} images could be read, such as {paths[0]}")
    output.mkdir(parents=True, exist_ok=True)
    pictures = _draw(model, images, names, shown_images, output)
    _write_events(output / "tensorboard", pictures)
    return pictures, skipped


def _plain_vit(export: Export, folder: str) -> VisionTransformer:
    model = export.keras_model()
    if not isinstance(model, VisionTransformer) or model.axial:
        raise UserError(f"{folder} is no plain ViT: it has no attention among all patches to draw")
    return model


def _read(export: Export, paths: Sequence[Path]) -> tuple[np.ndarray, list[str], list[str]]:
    """Images as the model sees them, their names, and the names of those that are damaged."""
    images, names, skipped = [], [], []
    for path in paths:
        try:
            images.append(export.preprocess(path.read_bytes()).numpy())
            names.append(path.stem)
        except (OSError, tf.errors.InvalidArgumentError):
            skipped.append(path.name)
    return np.stack(images) if images else np.empty(0), names, skipped


def _draw(
    model: VisionTransformer, images: np.ndarray, names: list[str], shown: int, output: Path
) -> dict[str, Path]:
    """Draw every picture that the model allows; returns the files by name."""
    pictures = {"attention": output / "attention.png"}
    draw_attention(model, images[:shown], names[:shown], pictures["attention"])

    pixels = model.image_size[0] / model.grid_size[0]
    distance = np.zeros((model.num_layers, model.num_heads))
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        weights = vit_keras.attention_weights(model, batch)
        share = len(batch) / len(images)
        distance += share * vit_keras.mean_attention_distance(weights, model.grid_size, pixels)
    pictures["attention_distance"] = output / "attention_distance.png"
    _draw_distance(distance, pictures["attention_distance"])

    filters = vit_keras.embedding_filters(model, FILTERS)
    if filters.shape[-1] == 3:  # a hybrid's filters lie over a feature map, which has no colours
        pictures["embedding_filters"] = output / "embedding_filters.png"
        _draw_filters(filters, pictures["embedding_filters"])
    if model.positions and model.position_embedding != "relative":
        pictures["position_similarity"] = output / "position_similarity.png"
        _draw_similarity(vit_keras.position_similarity(model), pictures["position_similarity"])
    report = {"images": len(images), "mean_attention_distance_pixels": distance.tolist()}
    (output / "inspection.json").write_text(json.dumps(report, indent=2) + "\n")
    return pictures


def _draw_distance(distance: np.ndarray, path: Path) -> None:
    """A point per head over the depth of the network (Figure 7 right, Figure 11)."""
    axes = _axes((6, 4))
    for block, heads in enumerate(distance):
        axes.scatter([block] * len(heads), heads, s=18, c=range(len(heads)), cmap="viridis")
    axes.set_xlabel("block")
    axes.set_ylabel("mean attention distance, pixels")
    axes.set_ylim(bottom=0)
    _save(axes, path)


def _draw_filters(filters: np.ndarray, path: Path) -> None:
    """Principal components as colour patches (Figure 7 left)."""
    scaled = filters / (2 * abs(filters).max(axis=(1, 2, 3), keepdims=True)) + 0.5
    axes = _axes((7, 4))
    axes.imshow(_tiled(scaled, columns=7))
    axes.set_title("principal components of the patch embedding")
    axes.axis("off")
    _save(axes, path)


def _draw_similarity(similarity: np.ndarray, path: Path) -> None:
    """For each patch, the map of its similarity with all others (Figure 7 centre)."""
    rows, columns = similarity.shape[:2]
    axes = _axes((7, 7 * rows / columns))
    tiles = similarity.reshape(rows * columns, rows, columns)
    drawn = axes.imshow(_tiled(tiles, columns), vmin=-1, vmax=1)
    axes.set_title("similarity of position embeddings")
    axes.axis("off")
    axes.figure.colorbar(drawn, label="cosine similarity", shrink=0.7)
    _save(axes, path)


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


def _save(axes: Any, path: Path) -> None:
    save(axes.figure, path)


def _write_events(folder: Path, pictures: dict[str, Path]) -> None:
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        for name, path in pictures.items():
            image = np.asarray(PIL.Image.open(path).convert("RGB"))
            tf.summary.image(f"inspect/{name}", image[None])
    writer.close()
