"""Every format against Pillow, and the size that a header names against what is decoded."""

import io
import struct

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from image_files import FILES, RGB, gif_part_of_canvas, written

from pipeline.data.images.image_decoding import decode_format
from pipeline.data.images.image_header import read_format, read_size


def on_white(data: bytes) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(data)) as image:
        rgba = image.convert("RGBA")
    white = PIL.Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return np.asarray(white.convert("RGB"), np.int32)


@pytest.fixture(scope="module")
def decode():
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def size_and_pixels(encoded):
        file_format = read_format(encoded)
        return read_size(encoded, file_format), decode_format(encoded, file_format)

    return size_and_pixels


@pytest.mark.parametrize("name", FILES)
def test_decodes_as_pillow_on_white(decode, name):
    expected = on_white(FILES[name])
    size, pixels = decode(FILES[name])
    assert tuple(size.numpy()) == expected.shape[:2]
    difference = np.abs(pixels.numpy().astype(int) - expected)
    # TensorFlow's default decoding of JPEGs is the fast one.
    assert difference.max() <= (6 if "JPEG" in name else 1)


def test_a_gif_frame_lies_in_its_canvas_on_white(decode):
    size, pixels = decode(gif_part_of_canvas())
    assert tuple(size.numpy()) == (8, 9)
    expected = np.full((8, 9, 3), 255)
    expected[1:4, 2:6] = on_white(written(RGB[:3, :4], "GIF"))
    assert np.array_equal(pixels.numpy(), expected)


def bmp4() -> bytes:
    """4 bits a pixel, rows from top to bottom: black, red, green / white, red, black."""
    rows = bytes([0x01, 0x20, 0, 0]) + bytes([0x31, 0x00, 0, 0])
    palette = bytes([0, 0, 0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 255, 255, 255, 0])
    info = struct.pack("<IiiHHIIiiII", 40, 3, -2, 1, 4, 0, len(rows), 0, 0, 4, 0)
    offset = 14 + len(info) + len(palette)
    head = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    return head + info + palette + rows


def test_a_bmp_of_four_bits_from_top_to_bottom(decode):
    size, pixels = decode(bmp4())
    assert tuple(size.numpy()) == (2, 3)
    black, red, green, white = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)
    assert np.array_equal(pixels.numpy(), [[black, red, green], [white, red, black]])


def test_jpeg_size_behind_long_segments_and_garbage(decode):
    data = FILES["JPEG"]
    comment = b"\xff\xfe\xff\xff" + b"\xff\xc0" * 32_766 + b"y"
    padded = data[:2] + comment * 3 + b"\xff\xff" + data[2:]
    size, pixels = decode(padded)
    assert tuple(size.numpy()) == (21, 30)
    assert pixels.shape == (21, 30, 3)
