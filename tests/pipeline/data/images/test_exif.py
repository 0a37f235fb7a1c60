"""EXIF orientation against Pillow."""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from pipeline.data.images.exif import orientation
from pipeline.data.images.image_decoding import decode_rgb

RNG = np.random.default_rng(0)
# Large smooth patches: JPEG keeps them, so that a wrong turn cannot be taken for compression.
PIXELS = RNG.integers(0, 256, (3, 5, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
ORIENTATION = 0x0112


def jpeg(exif: bytes = b"", **options) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(buffer, "JPEG", quality=95, exif=exif, **options)
    return buffer.getvalue()


def exif_block(
    value: int, order: str = "<", other_entries: int = 0, tag: int = ORIENTATION
) -> bytes:
    """A TIFF directory with some other entries before the orientation."""
    entries = b"".join(
        struct.pack(order + "HHII", 0x9000 + i, 4, 1, 7) for i in range(other_entries)
    )
    entries += struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
    head = b"II" if order == "<" else b"MM"
    count = struct.pack(order + "H", other_entries + 1)
    return b"Exif\0\0" + head + struct.pack(order + "HI", 42, 8) + count + entries + bytes(4)


@pytest.mark.parametrize("value", range(1, 9))
def test_turns_as_pillow(value):
    data = jpeg(exif_block(value, "<" if value % 2 else ">", other_entries=value))
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    decoded = tf.function(decode_rgb)(tf.constant(data)).numpy().astype(int)
    assert decoded.shape == np.asarray(upright).shape
    assert np.abs(decoded - np.asarray(upright)).max() <= 6
    if value > 1:
        unturned = tf.io.decode_jpeg(data).numpy().astype(int)
        assert unturned.shape != decoded.shape or np.abs(unturned - decoded).max() > 50


def test_found_behind_other_segments():
    assert int(orientation(jpeg(exif_block(6), comment=b"x" * 3000))) == 6
    data = jpeg(exif_block(8))
    comment = b"\xff\xfe" + struct.pack(">H", 3002) + b"y" * 3000
    assert int(orientation(data[:2] + comment + data[2:])) == 8


def test_found_behind_segments_of_any_length():
    data = jpeg(exif_block(6))
    for kind in (b"\xff\xfe", b"\xff\xe2", b"\xff\xe1"):
        long = kind + struct.pack(">H", 65_535) + b"z" * 65_533
        assert int(orientation(data[:2] + long * 3 + data[2:])) == 6
    # What looks like EXIF in a segment of another kind, or in the image data, is none.
    decoy = b"\xff\xe2" + struct.pack(">H", 9_000) + b"z" * 5_000 + exif_block(3)
    decoy += b"z" * (2 + 9_000 - len(decoy))
    assert int(orientation(data[:2] + decoy + data[2:])) == 6
    plain = jpeg()
    assert int(orientation(plain[:2] + decoy + plain[2:] + b"\xff\xe1\0\x40" + exif_block(3))) == 1


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        exif_block(0),
        exif_block(9),
        exif_block(6, tag=0x0111),
        exif_block(6)[:9],
        exif_block(6)[:20],
        exif_block(6)[:24],
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0II*\0\xff\xff\xff\xff\1\0",
    ],
)
def test_no_or_damaged_orientation_is_upright(exif):
    assert int(orientation(jpeg(exif))) == 1


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe0\0\0", b"abc" * 9]
)
def test_bytes_that_are_no_jpeg_do_no_harm(data):
    assert int(orientation(data)) == 1
