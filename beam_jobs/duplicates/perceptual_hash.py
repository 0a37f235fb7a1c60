"""A perceptual hash: images that look alike have hashes that differ in few bits.

The DCT hash (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010;
known as pHash), with 16×16 low frequencies instead of 8×8: 256 bits. A bit says whether a
coefficient of the grayscale image's discrete cosine transform lies above the median.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

SIDE = 16
BITS = SIDE * SIDE
_INPUT = 64
"""Side of the square that the image is shrunk to."""
_CROP = 0.05
"""Share of the side that a copy may lack at an edge."""

_frequencies = np.arange(SIDE)[:, None] * (2 * np.arange(_INPUT)[None, :] + 1)
_DCT = np.cos(np.pi * _frequencies / (2 * _INPUT)).astype(np.float32)
"""First rows of the DCT-II, [SIDE, _INPUT]."""


def hash_gray(pixels: np.ndarray) -> np.ndarray:
    """Hash squares of gray values.

    Args:
        pixels: float32 `[..., 64, 64]`.

    Returns:
        bool `[..., 256]`, rows of coefficients from low to high vertical frequency.
    """
    coefficients = (_DCT @ pixels @ _DCT.T).reshape(*pixels.shape[:-2], BITS)
    # the first coefficient is the mean brightness, which says nothing about the picture
    median = np.median(coefficients[..., 1:], axis=-1, keepdims=True)
    bits: np.ndarray = coefficients > median
    return bits


def variant_count(*, crops: bool, mirrored: bool) -> int:
    """How many hashes `variants` gives."""
    boxes = 1 + (len(list(_crop_boxes())) if crops else 0)
    return 2 * boxes if mirrored else boxes


def variants(image: Image.Image, *, crops: bool, mirrored: bool) -> np.ndarray:
    """Hashes of an image as it is and as copies of it may have changed it.

    Args:
        image: of any size and mode.
        crops: also as a copy with 5 % less: all around, at one edge, or at two that meet.
        mirrored: also mirrored left to right.

    Returns:
        bool `[variants, 256]`, the image as it is first.
    """
    gray = image.convert("L")
    boxes = [(0.0, 0.0, 1.0, 1.0), *(_crop_boxes() if crops else ())]
    width, height = gray.size
    squares = []
    for left, top, right, bottom in boxes:
        box = (left * width, top * height, right * width, bottom * height)
        square = gray.resize((_INPUT, _INPUT), Image.Resampling.BILINEAR, box=box)
        squares.append(np.asarray(square, np.float32))
    stack = np.stack(squares)
    if mirrored:
        stack = np.concatenate((stack, stack[:, :, ::-1]))
    return hash_gray(stack)


def _crop_boxes() -> Iterator[tuple[float, float, float, float]]:
    half = _CROP / 2
    yield half, half, 1 - half, 1 - half
    yield _CROP, _CROP, 1 - _CROP, 1 - _CROP
    for left, right in ((0.0, 0.0), (_CROP, 0.0), (0.0, _CROP)):
        for top, bottom in ((0.0, 0.0), (_CROP, 0.0), (0.0, _CROP)):
            if left + right + top + bottom > 0:
                yield left, top, 1 - right, 1 - bottom
