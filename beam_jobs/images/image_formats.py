"""What a file is, told by its first bytes, and what can be done about formats not decoded here."""

from __future__ import annotations

import struct

HEAD_BYTES = 32
"""As many of a file's first bytes as `format_of` wants to see."""
READ_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
OTHER_SUFFIXES = (
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm"),
    *(".jxl", ".tga", ".psd", ".dng", ".cr2", ".nef", ".arw", ".exr"),
)
"""Of images that are decoded only where Pillow can, or never; those are listed as rejected."""
IMAGE_SUFFIXES = frozenset(READ_SUFFIXES + OTHER_SUFFIXES)

_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIC"),
}
"""Of an ISO media file, at its offset 8."""
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
}
_BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)
_REMEDIES = {
    "HEIC": "pip install pillow-heif, or convert it to PNG",
    "AVIF": "install a Pillow with AVIF, or convert it to PNG",
    "JPEG XL": "convert it to PNG",
    "Photoshop": "export it as PNG",
    "OpenEXR": "convert it to PNG",
    "TIFF": "its kind of pixels is not decoded here, convert it to PNG with 8 bits",
}


def format_of(head: bytes) -> str | None:
    """The name of the image format that a file of these first bytes has; None: it is no image."""
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else None
    if head[:2] == b"BM":  # two letters alone may begin any text
        known = len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADER_BYTES
        return "BMP" if known else None
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    return next((name for begin, name in _SIGNATURES.items() if head.startswith(begin)), None)


def not_decoded(head: bytes) -> str:
    """Why an image with these first bytes is not decoded, and what to do."""
    kind = format_of(head)
    if kind is None:
        return f"starts with {head[:16]!r}"
    return f"{kind} is not decoded: {_REMEDIES.get(kind, 'convert it to PNG')}"


def is_lossless_webp(data: bytes) -> bool:
    """Whether the (first) picture in a WebP file is compressed without loss.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    offset = 12  # behind "RIFF", the size and "WEBP"
    while offset + 8 <= len(data):
        kind, size = data[offset : offset + 4], struct.unpack_from("<I", data, offset + 4)[0]
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        offset += 8
        # the chunks of an animation's frame follow 16 bytes that say where it is shown
        offset += 16 if kind == b"ANMF" else size + size % 2
    return False
