"""Small pictures inside HTML pages."""

from __future__ import annotations

import base64
import io

from PIL import Image

_SIDE = 160


def thumbnail_url(encoded: bytes) -> str:
    """An encoded image, scaled down to at most 160×160 pixels, as a data URL."""
    with Image.open(io.BytesIO(encoded)) as image:
        small = image.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
