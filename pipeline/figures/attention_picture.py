"""Images with the model's attention rollout laid over them (ViT paper, figures 6 and 14)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import PIL.ImageFilter
from matplotlib.figure import Figure
from numpy.typing import NDArray

import vit_keras
from pipeline.figures.rendering import fitting, save

ENLARGED_SIDE = 160
"""Shown size of small images, in pixels."""
COLUMN_INCHES = 1.5
LINE_LENGTH = 22
"""Characters of a title's line that fit above one column."""


def has_attention(model: keras.Model) -> bool:
    """Whether `draw_attention` can draw the attention of `model`."""
    return isinstance(model, vit_keras.VisionTransformer)


def attention_overlay(
    image: NDArray[np.uint8], rollout: NDArray[np.floating], patch: float
) -> NDArray[np.uint8]:
    """Dim `image` where the model does not look.

    As in the official code: the rollout is divided by its largest value, enlarged by Lanczos
    resampling, blurred by one patch, and multiplied with the image.

    Args:
        image: uint8 `[h, w, 3]`.
        rollout: float `[rows, columns]`.
        patch: side of a patch in pixels of `image`.

    Returns:
        uint8 `[h, w, 3]`.
    """
    levels = PIL.Image.fromarray(np.uint8(255 * rollout / rollout.max()))
    size = (image.shape[1], image.shape[0])
    smooth = levels.resize(size, PIL.Image.Resampling.LANCZOS).filter(
        PIL.ImageFilter.GaussianBlur(patch)
    )
    weight = np.asarray(smooth, np.float32)
    dimmed: NDArray[np.uint8] = (image * (weight / weight.max())[..., None]).astype(np.uint8)
    return dimmed


def draw_attention(
    model: keras.Model, images: NDArray[np.float32], titles: Sequence[str], path: Path
) -> None:
    """Draw each image, the image dimmed by its attention rollout, and the rollout as a heat map.

    Args:
        model: a ViT of `vit_keras`.
        images: float32 `[batch, h, w, 3]` in [-1, 1].
        titles: one per image, of any lines; a line that does not fit ends in dots.
        path: PNG file to write.
    """
    rollouts = vit_keras.attention_rollout(model, images)
    figure = Figure(
        figsize=(COLUMN_INCHES * len(images), 3.4 * COLUMN_INCHES), layout="constrained"
    )
    axes = figure.subplots(3, len(images), squeeze=False)
    for column, (image, rollout, title) in enumerate(zip(images, rollouts, titles, strict=True)):
        shown = _enlarge(np.uint8(np.round((image + 1) * 127.5)))
        patch = shown.shape[0] / rollout.shape[0]
        axes[0, column].imshow(shown)
        axes[0, column].set_title(
            "\n".join(fitting(line, LINE_LENGTH) for line in title.splitlines()), fontsize=8
        )
        axes[1, column].imshow(attention_overlay(shown, rollout, patch))
        axes[2, column].imshow(rollout, cmap="inferno")
    for one in axes.flat:
        one.axis("off")
    save(figure, path)


def _enlarge(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(1, ENLARGED_SIDE // min(image.shape[:2]))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BICUBIC))
