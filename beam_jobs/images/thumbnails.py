"""Small pictures for HTML pages."""

from __future__ import annotations

import io

from PIL import Image

_SIDE = 160


def thumbnail(encoded: bytes) -> bytes:
    """An encoded image, scaled down to at most 160×160 pixels, as a JPEG file."""
    with Image.open(io.BytesIO(encoded)) as image:
        small = image.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return file.getvalue()
