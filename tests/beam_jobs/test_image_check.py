import io
import struct
import zlib

import numpy as np
import pytest
from beam_corpus import encoded, picture, pixels
from PIL import Image

from beam_jobs.images.image_check import _FORMATS, Limits, Reason, Rejected, check


def reason(data: bytes, **limits: int) -> Reason:
    with pytest.raises(Rejected) as caught:
        check(data, Limits(**limits))
    return caught.value.reason


def png_with_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_clean_images_keep_their_bytes(kind, mode):
    checked = check(encoded(picture().convert(mode), kind), Limits())
    assert checked == (30, 20, None)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 5}])
def test_jpegs_of_any_kind_keep_their_bytes(options):
    assert check(encoded(picture(), **options), Limits()).encoded is None


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (7, 8)])
def test_tiny_jpegs_are_images(size):
    """They cannot be decoded at a fraction of their size."""
    assert check(encoded(picture(size=size)), Limits()) == (*size, None)


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("GIF", "P", 0),
        ("BMP", "RGB", 0),
        ("PNG", "P", 0),
        ("PNG", "1", 0),
        ("WEBP", "RGB", 12),
        ("JPEG", "CMYK", 12),
    ],
)
def test_other_formats_become_what_they_show(kind, mode, tolerance):
    data = encoded(picture().convert(mode), kind)
    checked = check(data, Limits())
    assert checked.encoded is not None
    result = Image.open(io.BytesIO(checked.encoded))
    assert result.format == ("JPEG" if tolerance else "PNG")
    assert result.mode in ("RGB", "L")
    assert (checked.width, checked.height) == result.size == (30, 20)
    assert np.abs(pixels(checked.encoded) - pixels(data)).mean() <= tolerance / 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_goes_onto_white(mode):
    image = picture().convert("L" if mode == "LA" else "RGB").convert(mode.replace("PA", "RGBA"))
    image.putalpha(Image.fromarray(np.repeat(np.uint8([[0, 128, 255]]), 10, 1).repeat(20, 0)))
    if mode == "PA":
        image = image.quantize(64)
    checked = check(encoded(image, "PNG"), Limits())
    assert checked.encoded is not None
    result = pixels(checked.encoded)
    assert (result[:, :10] == 255).all()
    opaque = np.asarray(image.convert("RGB"), np.int16)
    assert np.abs(result[:, 20:] - opaque[:, 20:]).max() <= 1
    assert np.abs(result[:, 10:20] - (opaque[:, 10:20] + 255) / 2).max() <= 2


def test_a_transparent_color_goes_onto_white():
    image = picture().quantize(8)
    image.info["transparency"] = int(np.asarray(image)[0, 0])
    checked = check(encoded(image, "PNG", transparency=image.info["transparency"]), Limits())
    assert checked.encoded is not None
    assert (pixels(checked.encoded)[0, 0] == 255).all()


def test_16_bits_become_8():
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    checked = check(encoded(Image.fromarray(values), "PNG"), Limits())
    assert checked.encoded is not None
    assert np.abs(pixels(checked.encoded)[..., 0] - values / 257).max() <= 1


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int16", "int32", "float32"])
def test_a_window_says_which_values_are_black_and_white(dtype):
    values = np.linspace(0, 6000, 600).astype(dtype).reshape(20, 30)
    expected = np.clip(np.round((values.astype(np.float64) - 1000) * (255 / 3095)), 0, 255)
    checked = check(encoded(Image.fromarray(values), "TIFF"), Limits(window=(1000, 4095)))
    assert checked.encoded is not None
    result = Image.open(io.BytesIO(checked.encoded))
    assert (result.format, result.mode) == ("PNG", "L")
    assert np.abs(np.asarray(result) - expected).max() <= 1
    assert {0, 255} < set(np.unique(result))


def test_a_window_takes_negative_values_and_what_is_no_number_for_black():
    values = np.float32([[-1000, -500, 0, 500, np.nan, np.inf]])
    checked = check(encoded(Image.fromarray(values), "TIFF"), Limits(window=(-1000, 0)))
    assert checked.encoded is not None
    assert pixels(checked.encoded)[0, :, 0].tolist() == [0, 128, 255, 255, 0, 255]


def test_a_window_leaves_images_of_8_bits_alone():
    assert check(encoded(picture(), "PNG"), Limits(window=(0, 100))).encoded is None


def test_a_gif_gives_its_first_frame():
    first, second = picture(0), picture(1)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    checked = check(data, Limits())
    assert checked.encoded is not None
    assert np.abs(pixels(checked.encoded) - pixels(encoded(first, "GIF"))).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = picture(size=(48, 32))
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, exif=exif, quality=95)
    checked = check(data, Limits())
    assert (checked.width, checked.height) == (48, 32)
    result = data if checked.encoded is None else checked.encoded
    assert (checked.encoded is None) == (orientation == 1)
    assert np.abs(pixels(result) - np.asarray(upright, np.int16)).mean() < 3
    assert Image.open(io.BytesIO(result)).getexif().get(0x0112, 1) == 1


def test_max_size_scales_the_shorter_side_down_and_never_up():
    large = encoded(picture(size=(300, 200)))
    checked = check(large, Limits(max_size=50))
    assert (checked.width, checked.height) == (75, 50)
    assert checked.encoded is not None
    small = np.asarray(picture(size=(300, 200)).resize((75, 50)), np.int16)
    assert np.abs(pixels(checked.encoded) - small).mean() < 3
    assert check(large, Limits(max_size=200)).encoded is None


def test_quality_is_that_of_new_jpegs():
    data = encoded(picture(size=(200, 200)).convert("CMYK"))
    sizes = [len(check(data, Limits(quality=quality)).encoded or b"") for quality in (30, 95)]
    assert 0 < sizes[0] < sizes[1] / 2


def test_rejects():
    jpeg = encoded(picture(size=(200, 100)))
    assert reason(b"") == Reason.EMPTY
    assert reason(b"<html>not found</html>") == Reason.UNKNOWN_FORMAT
    assert reason(b"\xff\x0a" + bytes(99)) == Reason.UNKNOWN_FORMAT
    assert reason(jpeg[:-200]) == Reason.TRUNCATED
    assert reason(jpeg[:100]) == Reason.CORRUPT  # within its header
    assert reason(encoded(picture(), "PNG")[:-60]) == Reason.TRUNCATED
    assert reason(jpeg, min_size=101) == Reason.TOO_SMALL
    assert reason(jpeg, max_pixels=19_999) == Reason.TOO_MANY_PIXELS
    assert check(jpeg, Limits(min_size=100, max_pixels=20_000)).encoded is None


def test_a_bomb_is_refused_by_its_header():
    assert reason(png_with_size(50_000, 50_000)) == Reason.TOO_MANY_PIXELS


def test_damage_inside_a_png_is_found():
    data = bytearray(encoded(picture(size=(200, 100)), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert reason(bytes(data)) in (Reason.CORRUPT, Reason.TRUNCATED)


def test_a_png_named_jpg_is_taken_for_what_it_is():
    # the name plays no part: only bytes come here
    assert check(encoded(picture(), "PNG"), Limits()) == (30, 20, None)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "PPM", "JPEG2000"])
def test_formats_that_pillow_decodes(kind):
    if kind not in _FORMATS:
        pytest.skip(f"this Pillow has no {kind}")
    data = encoded(picture(), kind)
    checked = check(data, Limits())
    assert checked.encoded is not None
    lossy = kind == "AVIF"
    assert Image.open(io.BytesIO(checked.encoded)).format == ("JPEG" if lossy else "PNG")
    assert np.abs(pixels(checked.encoded) - pixels(data)).mean() <= (3 if lossy else 0)


def test_a_heic_is_decoded_with_pillow_heif_or_names_it():
    heif = pytest.importorskip("pillow_heif") if "HEIF" in _FORMATS else None
    if heif is None:
        with pytest.raises(Rejected, match="HEIC is not decoded: pip install pillow-heif"):
            check(b"\0\0\0\x18ftypheic" + bytes(99), Limits())
        return
    data = encoded(picture(size=(64, 64)), "HEIF")
    checked = check(data, Limits())
    assert (checked.width, checked.height) == (64, 64)
    assert checked.encoded is not None
    assert np.abs(pixels(checked.encoded) - np.asarray(picture(size=(64, 64)), np.int16)).mean() < 9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\x0a" + bytes(99), "JPEG XL is not decoded: convert it to PNG"),
        (b"8BPS" + bytes(99), "Photoshop is not decoded: export it as PNG"),
        (
            encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"),
            "TIFF of signed, .* is not decoded: .* --window 0 1",
        ),
        (encoded(Image.fromarray(np.zeros((9, 9), np.int32)), "TIFF"), "TIFF of signed, 32-bit"),
    ],
)
def test_what_is_not_decoded_is_named_with_the_remedy(data, message):
    with pytest.raises(Rejected, match=message) as caught:
        check(data, Limits())
    assert caught.value.reason == Reason.UNKNOWN_FORMAT


@pytest.mark.parametrize("animated", [False, True])
def test_a_lossless_webp_loses_nothing(animated):
    more = {"save_all": True, "append_images": [picture(1)]} if animated else {}
    data = encoded(picture().effect_spread(9), "WEBP", lossless=True, **more)
    checked = check(data, Limits())
    assert checked.encoded is not None
    assert np.array_equal(pixels(checked.encoded), pixels(data))
    lossy = check(encoded(picture(), "WEBP", **more), Limits()).encoded
    assert lossy is not None
    assert Image.open(io.BytesIO(lossy)).format == "JPEG"


def test_what_tensorflow_refuses_is_rejected():
    """Pillow decodes all of these without a complaint."""
    jpeg = encoded(picture(size=(64, 64)))
    assert reason(jpeg[:-2]) == Reason.TRUNCATED
    assert reason(jpeg[:-2] + bytes(200)) == Reason.TRUNCATED
    # a marker segment that swallows the end
    assert reason(jpeg[:-2] + b"\xff\xe1\x00\x09" + jpeg[-2:]) == Reason.TRUNCATED
    assert check(jpeg[:-2] + b"\xff\xe1\x00\x04ab" + jpeg[-2:], Limits()).encoded is None
    png = encoded(picture(size=(64, 64)), "PNG")
    broken = bytearray(png)
    broken[png.index(b"IEND") - 8] ^= 1  # of the last data chunk's checksum
    assert reason(bytes(broken)) in (Reason.CORRUPT, Reason.TRUNCATED)
    assert reason(png[: png.index(b"IEND") - 4]) == Reason.TRUNCATED


def test_the_check_is_as_strict_as_tensorflow():
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    passed = 0
    for number in range(3000):
        kind, more = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})][number % 3]
        damaged = bytearray(encoded(picture(number % 7, (64, 40)), kind, **more))
        begin = int(random.integers(len(damaged)))
        match number % 5:
            case 0:
                damaged[begin] ^= 1 << int(random.integers(8))
            case 1:
                del damaged[begin : begin + int(random.integers(1, 16))]
            case 2:
                damaged[begin : begin + 16] = bytes(16)
            case 3:
                del damaged[begin:]
            case 4:
                damaged[begin : begin + 4] = random.bytes(4)
        try:
            checked = check(bytes(damaged), Limits())
        except Rejected:
            continue
        passed += 1
        image = bytes(damaged) if checked.encoded is None else checked.encoded
        decoded = tf.io.decode_image(image, channels=3, expand_animations=False)
        assert decoded.shape == (checked.height, checked.width, 3)
    assert passed > 300
