"""Images of strangers: formats against Pillow, limits before decoding, bad ones by themselves."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from dataset_folders import encode

from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.image_decoding import decode_any
from pipeline.serving.image_size import UNKNOWN, read_format, read_size
from pipeline.serving.request_images import MAX_PIXELS, decode_request

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
        return read_size(encoded, file_format), decode_any(encoded, file_format)

    return size_and_pixels


@pytest.fixture(scope="module")
def request_images():
    preprocess = EvalPreprocess((16, 24), eval_resize=20)
    function = tf.function(
        lambda image_bytes: decode_request(image_bytes, preprocess),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    return lambda files: [value.numpy() for value in function(tf.constant(files, tf.string))]


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


def test_what_serving_sees_is_what_evaluation_sees(request_images):
    preprocess = EvalPreprocess((16, 24), eval_resize=20)
    names = ["PNG RGB", "PNG RGBA", "JPEG", "GIF", "WebP"]
    images, _ = request_images([FILES[name] for name in names])
    for image, name in zip(images, names, strict=True):
        np.testing.assert_array_equal(image, preprocess(FILES[name]))


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
def test_every_header_is_read_before_decoding(decode, request_images, name):
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
