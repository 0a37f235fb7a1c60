"""Pictures for TensorBoard, as uint8 arrays `[height, width, 3]`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SMALLEST_TILE = 96  # pixels: room for a class name
CAPTION_HEIGHT = 14
SHOWN_NAME = 24  # characters


def labeled_images(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Tile images nearly square, the name of its class beneath each.

    Small images are enlarged by a whole factor, so that their pixels stay what they are.

    Args:
        images: `[count, height, width, 3]`, uint8 or float32 in [-1, 1].
        labels: int `[count]` or, with several to an image, bool `[count, classes]`.
        class_names: by label; empty: nothing is written beneath.
    """
    count, height, width, _ = images.shape
    factor = -(-SMALLEST_TILE // width)
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    tile_width, tile_height = width * factor + 2, height * factor + CAPTION_HEIGHT
    canvas = Image.new("RGB", (columns * tile_width, rows * tile_height), "white")
    draw = ImageDraw.Draw(canvas)
    pixels = images
    if images.dtype != np.uint8:
        pixels = np.clip(images * 127.5 + 128, 0, 255).astype(np.uint8)
    for index, tile in enumerate(pixels):
        left, top = index % columns * tile_width, index // columns * tile_height
        enlarged = tile.repeat(factor, axis=0).repeat(factor, axis=1)
        canvas.paste(Image.fromarray(enlarged), (left, top))
        if class_names:
            own = np.atleast_1d(labels[index])
            shown = np.flatnonzero(own) if own.dtype == bool else own
            name = ", ".join(class_names[int(label)] for label in shown)[:SHOWN_NAME]
            draw.text((left + 2, top + height * factor + 1), name, fill="black")
    return np.asarray(canvas)
