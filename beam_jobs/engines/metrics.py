"""Names of the counters in Beam's metrics. They are fixed: dashboards refer to them."""

from __future__ import annotations

NAMESPACE = "beam_jobs"
LISTED = "listed"
EXCLUDED = "excluded"
READ = "read"
WRITTEN = "written"
REENCODED = "reencoded"
SKIPPED = "skipped"
"""Images in shards that an earlier run has written."""
BYTES_IN = "bytes_in"
BYTES_OUT = "bytes_out"
IMAGE_BYTES = "image_bytes"
"""Distribution: bytes of an image as written."""


def rejected(reason: str) -> str:
    """Counter of the images rejected for one reason."""
    return f"rejected_{reason}"


def passed_over(why: str) -> str:
    """Counter of the files passed over for one reason."""
    return f"passed_over_{why}"


def shorter_side(pixels: int) -> str:
    """Counter of the images whose shorter side has about that many pixels: powers of two."""
    low = 1 << (max(pixels, 1).bit_length() - 1)
    return f"shorter_side_{low}_to_{2 * low - 1}"
