"""Images of strangers: limits before decoding, bad ones by themselves."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from image_files import FILES

from pipeline.data.images.augment import whole_image
from pipeline.data.images.image_decoding import decode_rgb
from pipeline.data.images.image_header import UNKNOWN, read_format, read_size
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.request_images import MAX_PIXELS, decode_request


@pytest.fixture(scope="module")
def request_images():
    preprocess = EvalPreprocess((16, 24), eval_resize=20)
    function = tf.function(
        lambda image_bytes: decode_request(image_bytes, preprocess),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    return lambda files: [value.numpy() for value in function(tf.constant(files, tf.string))]


WHOLE_FIRST_FRAME = [name for name in FILES if "animated" in name or "part" in name]
"""In their first half."""
BAD = [
    b"",
    b"<html>",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    *(FILES[name][:length] for name in FILES for length in (3, 8, 13, 30)),
    *(FILES[name][: len(FILES[name]) // 2] for name in FILES if name not in WHOLE_FIRST_FRAME),
]


def test_a_bad_image_fails_none_of_the_others(request_images):
    good = list(FILES.values())
    alone, valid = request_images(good)
    assert valid.all()
    for bad in BAD:
        images, valid = request_images([bad, good[3], bad])
        assert valid.tolist() == [False, True, False]
        assert np.array_equal(images[1], alone[3]) and not images[[0, 2]].any()
    images, valid = request_images([*good, *BAD[:3]])
    assert np.array_equal(images[: len(good)], alone)
    assert request_images([])[0].shape == (0, 16, 24, 3)


def test_serving_training_and_evaluation_see_the_same_pixels(request_images):
    preprocess = EvalPreprocess((16, 24), eval_resize=20)
    images, _ = request_images(list(FILES.values()))
    in_training = tf.function(
        lambda encoded: whole_image(encoded, (21, 30)),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    for image, (name, data) in zip(images, FILES.items(), strict=True):
        np.testing.assert_array_equal(image, preprocess(data), err_msg=name)
        np.testing.assert_array_equal(in_training(data), decode_rgb(data), err_msg=name)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def zeros_png(width: int, height: int) -> bytes:
    """A gray PNG of zeros: a thousandth of a byte a pixel."""
    compress = zlib.compressobj()
    row = bytes(1 + width)
    packed = b"".join(compress.compress(row) for _ in range(height)) + compress.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def resized_header(name: str, width: int, height: int) -> bytes:
    """A file of `FILES` whose header claims another size."""
    data = bytearray(FILES[name])
    if name == "JPEG":
        place = data.index(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    elif name == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif name == "BMP RGB":
        data[18:26] = struct.pack("<ii", width, height)
    elif name == "WebP, transparent":
        data[24:30] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    elif name == "WebP, lossless":
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    "name", ["JPEG", "GIF", "BMP RGB", "WebP", "WebP, lossless", "WebP, transparent"]
)
def test_every_header_is_read_before_decoding(request_images, name):
    width, height = 16_383, MAX_PIXELS // 16_383 + 1
    data = resized_header(name, width, height)
    file_format = read_format(tf.constant(data))
    assert int(file_format) != UNKNOWN
    assert tuple(read_size(tf.constant(data), file_format).numpy()) == (height, width)
    assert not request_images([data])[1][0]


PEAK_BYTES = 900_000_000


def peak_bytes() -> int:
    """Most memory that this process has held since `Path("/proc/self/clear_refs")` was written."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def animation(file_format: str, frames: int = 200) -> bytes:
    """The second frame, of 4 megapixels, again and again."""
    images = [PIL.Image.new("L", (2000, 2000), value) for value in (0, 255)]
    buffer = io.BytesIO()
    images[0].save(buffer, file_format, save_all=True, append_images=images[1:], lossless=True)
    data = buffer.getvalue()
    if file_format == "GIF":
        place = data.rindex(b"\x21\xf9\x04")
        return data[:place] + data[place:-1] * frames + b";"
    place = data.rindex(b"ANMF")
    data = data[:place] + data[place:] * frames
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' /proc")
def test_memory_is_bounded_whatever_the_images_hold(request_images):
    animations = [animation("GIF"), animation("WEBP")]
    requests = [
        ([zeros_png(11_500, 11_500)], [False]),
        ([zeros_png(20_000_000, 1)] * 2, [False] * 2),
        ([zeros_png(2500, 2500)] * 16, [True] * 16),
        (animations, [True] * 2),
    ]
    request_images([FILES["JPEG"]])
    for files, expected in requests:
        assert max(map(len, files)) < 3_000_000
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_bytes()
        assert request_images(files)[1].tolist() == expected
        assert peak_bytes() - before < PEAK_BYTES
