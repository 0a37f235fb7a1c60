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
"""Share of the side that a copy may lack at an edge; twice as much is looked for too."""
_ANGLE = 3
"""Degrees that a copy may be turned by."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of width and height."""
_PARTS: tuple[Box, ...] = ((0.0, 0.0, 1.0, 0.8), (0.0, 0.2, 1.0, 1.0))
"""What is left of an image without its lower and without its upper fifth."""

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


def variants(image: Image.Image, *, crops: bool, mirrored: bool) -> np.ndarray:
    """Hashes of an image as it is and as copies of it may have changed it.

    Args:
        image: of any size and mode.
        crops: also as a copy with 5 or 10 % less: all around, at one edge, or at two that meet; and
            turned by 3 degrees to either side.
        mirrored: also mirrored left to right.

    Returns:
        bool `[variants, 256]`. The first `asked(...)` of them are looked up: the image as it is,
        and without its lower and its upper fifth, where a copy may have text laid over it.
    """
    gray = image.convert("L")
    width, height = gray.size
    squares = []
    for left, top, right, bottom in _boxes(crops):
        box = (left * width, top * height, right * width, bottom * height)
        square = gray.resize((_INPUT, _INPUT), Image.Resampling.BILINEAR, box=box)
        squares.append(np.asarray(square, np.float32))
    if crops:
        whole = gray.resize((_INPUT, _INPUT), Image.Resampling.BILINEAR)
        turned = (whole.rotate(angle, Image.Resampling.BILINEAR) for angle in (_ANGLE, -_ANGLE))
        squares += [np.asarray(square, np.float32) for square in turned]
    stack = np.stack(squares)
    if mirrored:
        stack = np.concatenate((stack, stack[:, :, ::-1]))
    return hash_gray(stack)


def asked(*, crops: bool) -> int:
    """How many of an image's variants are looked up among all variants of the others."""
    return 1 + len(_PARTS) if crops else 1


def variant_count(*, crops: bool, mirrored: bool) -> int:
    """How many hashes `variants` gives."""
    return (len(_boxes(crops)) + (2 if crops else 0)) * (2 if mirrored else 1)


def _boxes(crops: bool) -> list[Box]:
    return [(0.0, 0.0, 1.0, 1.0), *((*_PARTS, *_crop_boxes()) if crops else ())]


def _crop_boxes() -> Iterator[Box]:
    for crop in (_CROP, 2 * _CROP):
        half = crop / 2
        yield half, half, 1 - half, 1 - half
        yield from ((crop, 0.0, 1.0, 1.0), (0.0, crop, 1.0, 1.0))
        yield from ((0.0, 0.0, 1 - crop, 1.0), (0.0, 0.0, 1.0, 1 - crop))
    yield _CROP, _CROP, 1 - _CROP, 1 - _CROP
    for left, right in ((_CROP, 0.0), (0.0, _CROP)):
        for top, bottom in ((_CROP, 0.0), (0.0, _CROP)):
            yield left, top, 1 - right, 1 - bottom
