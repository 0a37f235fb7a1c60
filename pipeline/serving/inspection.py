"""Pictures of what an exported ViT has learned (ViT paper, figures 6, 7 and 11)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import vit_keras
from groundwork import pages, storage
from groundwork.errors import UserError
from pipeline.figures.attention_picture import draw_attention
from pipeline.figures.model_pictures import distance_figure, weight_figures
from pipeline.figures.rendering import save
from pipeline.figures.tensorboard_pictures import show_pictures
from pipeline.serving.loading import Export
from pipeline.serving.outputs import writing_to
from vit_keras import VisionTransformer

Distances = npt.NDArray[np.float64]
SECTIONS = {
    "attention": "Where the class token looks (attention rollout)",
    "attention_distance": "How far each head looks",
    "embedding_filters": "What the patch embedding looks for",
    "position_similarity": "Which positions are alike",
}
"""Headings of the pictures."""
BATCH = 8  # images whose attention weights are held at once: 0.2 GB for B/16 at 224 pixels


def inspect(
    export: Export, name: str, paths: Sequence[Path], output: Path, *, shown_images: int
) -> tuple[dict[str, Path], list[str]]:
    """Draw everything that the model allows, to PNG files and TensorBoard.

    Args:
        export: the model.
        name: what the user calls it.
        paths: image files; attention distance is the mean over all of them.
        output: folder for the pictures, `inspection.json` and `tensorboard/`.
        shown_images: images to draw attention over, the first of `paths`.

    Returns:
        The pictures by name, and the names of images that could not be read.

    Raises:
        UserError: no plain ViT, no image could be read, or `output` cannot be written.
    """
    model = _plain_vit(export, name)
    images, names, skipped = _read(export, paths)
    if not names:
        raise UserError(f"none of the {len(paths)} images could be read, such as {paths[0]}")
    with writing_to(str(output), "--output"):
        output.mkdir(parents=True, exist_ok=True)
        pictures, distance = _draw(model, images, names, shown_images, output)
        page = _page(name, model, distance, len(images), pictures)
        pages.write(page, str(output / "index.html"))
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
            image = export.pixels(path.read_bytes())
        except OSError:
            image = None
        if image is None:
            skipped.append(str(path))
            continue
        images.append(image)
        names.append(path.stem)
    return np.stack(images) if images else np.empty(0), names, skipped


def _draw(
    model: VisionTransformer, images: np.ndarray, names: list[str], shown: int, output: Path
) -> tuple[dict[str, Path], Distances]:
    """Draw every picture that the model allows.

    Returns:
        The files by name, and the mean attention distance in pixels, `[blocks, heads]`.
    """
    pictures = {"attention": output / "attention.png"}
    draw_attention(model, images[:shown], names[:shown], pictures["attention"])

    pixels = model.image_size[0] / model.grid_size[0]
    distance = np.zeros((model.num_layers, model.num_heads))
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        weights = vit_keras.attention_weights(model, batch)
        share = len(batch) / len(images)
        distance += share * vit_keras.mean_attention_distance(weights, model.grid_size, pixels)
    figures = {"attention_distance": distance_figure(distance)} | weight_figures(model)
    for name, figure in figures.items():
        pictures[name] = output / f"{name}.png"
        save(figure, pictures[name])
    report = {"images": len(images), "mean_attention_distance_pixels": distance.tolist()}
    storage.write_text(str(output / "inspection.json"), json.dumps(report, indent=2) + "\n")
    return pictures, distance


def _page(
    folder: str,
    model: VisionTransformer,
    distance: Distances,
    images: int,
    pictures: dict[str, Path],
) -> pages.Page:
    """The pictures with what they say, as one page."""
    first, last = distance[0], distance[-1]
    height, width = model.image_size
    rows: list[list[pages.Cell]] = [
        [
            block + 1,
            pages.Number(float(heads.mean()), f"{heads.mean():.1f}"),
            pages.Number(float(heads.min()), f"{heads.min():.1f}"),
            pages.Number(float(heads.max()), f"{heads.max():.1f}"),
        ]
        for block, heads in enumerate(distance)
    ]
    return pages.Page(
        kind="Inspection",
        subject=folder,
        headline=f"Heads look {first.mean():.0f} pixels far in the first block and "
        f"{last.mean():.0f} in the last",
        lead=f"Mean attention distance over {images} images of {width} × {height} pixels (ViT "
        "paper, figure 7 right): how far from a patch its attention lies, on average.",
        summary=[
            pages.Cards(
                [
                    pages.Card("Blocks", f"{model.num_layers}", f"of {model.num_heads} heads"),
                    pages.Card("Nearest head", f"{distance.min():.1f} px"),
                    pages.Card("Farthest head", f"{distance.max():.1f} px"),
                ]
            )
        ],
        sections=[
            *(
                pages.Section(
                    SECTIONS[name],
                    [pages.Figure(path.read_bytes(), alt=SECTIONS[name])],
                )
                for name, path in pictures.items()
            ),
            pages.Section(
                "Distances in pixels",
                [pages.Table(["block", "mean", "nearest head", "farthest head"], rows)],
            ),
        ],
    )


def _write_events(folder: Path, pictures: dict[str, Path]) -> None:
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        show_pictures("inspect", pictures)
    writer.close()
