"""Encoded pictures that cost a decoder what photographs cost."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image


def photo_like(generator: np.random.Generator, height: int = 375, width: int = 500) -> bytes:
    """JPEG of quality 85 whose spectrum falls like that of photographs (as 1/frequency).

    At 375×500 pixels it has about 100 kB, like a photograph of that size.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    noise = generator.normal(size=(2, height, width // 2 + 1, 3))
    spectrum = (noise[0] + 1j * noise[1]) / np.maximum(frequency, 1 / width)[..., None]
    image = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    image = 128 + 55 * image / image.std()
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
