"""Image files of every format and kind, as Pillow writes them."""

from __future__ import annotations

import io
import struct

import numpy as np
import PIL.Image
from dataset_folders import encode

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (21, 30, 3), np.uint8)
HOLES = np.dstack([RGB, RNG.integers(0, 2, (21, 30), np.uint8) * 255])
SHADES = np.dstack([RGB, RNG.integers(0, 256, (21, 30), np.uint8)])
OTHER = PIL.Image.fromarray(255 - RGB)
ANIMATED = {"save_all": True, "append_images": [OTHER, OTHER]}


def written(pixels: np.ndarray, file_format: str, mode: str | None = None, **options) -> bytes:
    image = PIL.Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def small_frame(file_format: str, **options) -> bytes:
    """An animation whose first frame fills a part of the canvas alone."""
    canvas = np.zeros((21, 30, 4), np.uint8)
    canvas[4:10, 6:20] = HOLES[4:10, 6:20]
    return written(canvas, file_format, save_all=True, append_images=[OTHER], **options)


def gif_part_of_canvas() -> bytes:
    """A still GIF of 4×3 in a canvas of 9×8."""
    data = bytearray(written(RGB[:3, :4], "GIF"))
    place = data.index(b"\x2c", 13 + 3 * 2 ** (data[10] % 8 + 1))
    data[6:10] = struct.pack("<HH", 9, 8)
    data[place + 1 : place + 5] = struct.pack("<HH", 2, 1)
    return bytes(data)


FILES = {
    **{
        f"PNG {mode}": written(SHADES, "PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    },
    "PNG with a transparent gray": written(RGB[..., 0], "PNG", transparency=int(RGB[0, 0, 0])),
    "PNG with a palette and transparency": written(RGB, "PNG", "P", transparency=3),
    **{f"BMP {mode}": written(SHADES, "BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")},
    "JPEG": encode(RGB, "JPEG"),
    "JPEG, progressive": encode(RGB, "JPEG", progressive=True),
    "JPEG, gray": encode(RGB[..., 0], "JPEG"),
    "GIF": written(RGB, "GIF"),
    "GIF, interlaced": written(RGB, "GIF", interlace=True),
    "GIF, transparent": written(HOLES, "GIF"),
    "GIF, animated": written(HOLES, "GIF", **ANIMATED),
    "GIF, with a long comment": written(RGB, "GIF", comment=b"x" * 5000),
    "WebP": written(RGB, "WEBP"),
    "WebP, lossless": written(RGB, "WEBP", lossless=True),
    "WebP, transparent": written(SHADES, "WEBP"),
    "WebP, transparent and lossless": written(SHADES, "WEBP", lossless=True),
    "WebP, animated": written(SHADES, "WEBP", lossless=True, **ANIMATED),
    "WebP, animated and lossy": written(RGB, "WEBP", **ANIMATED),
    "WebP, a part of its canvas": small_frame("WEBP", lossless=True),
    "WebP, with a color profile": written(RGB, "WEBP", icc_profile=b"p" * 333),
}
