"""Decide whether bytes are a good image, and make them one that every reader decodes alike.

A clean JPEG or PNG keeps its bytes. What TensorFlow decodes in another way, or not at all, becomes
plain RGB: other formats, CMYK, palettes, alpha (onto white), 16 bits, EXIF orientation. Formats
beyond JPEG, PNG, GIF, BMP and WebP are decoded where the installed Pillow can.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features

from beam_jobs.images.image_formats import format_of, is_lossless_webp, not_decoded
from beam_jobs.images.stream_check import jpeg_has_end, png_damage

try:
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _HAS_HEIF = False
else:
    pillow_heif.register_heif_opener()
    _HAS_HEIF = True


class Reason(str, Enum):
    """Why an image is not in the dataset. The list is fixed: jobs count by it."""

    NO_LABEL = "no_label"
    """It lies in no class folder, or its manifest row has no label."""
    DUPLICATE_KEY = "duplicate_key"
    """Another image has the same key (--on_duplicate_key drop)."""
    UNREADABLE = "unreadable"
    """The file cannot be read: permissions, a broken link, a password."""
    DAMAGED_ARCHIVE = "damaged_archive"
    """It lay in the part of an archive that is damaged or cut off."""
    NOT_DOWNLOADED = "not_downloaded"
    """Its URL gave no image: an HTTP error, no answer, or its owner opted out."""
    EMPTY = "empty"
    """No bytes."""
    UNKNOWN_FORMAT = "unknown_format"
    """Its first bytes are of no format that is decoded here, whatever its name says."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """More than --max_pixels, by its header: never decoded."""
    TOO_SMALL = "too_small"
    """Its shorter side is below --min_size."""
    TRUNCATED = "truncated"
    """The file ends before the image does."""
    CORRUPT = "corrupt"
    """The decoder gives up."""
    TIMEOUT = "timeout"
    """Decoding took longer than --image_timeout."""
    DECODER_CRASH = "decoder_crash"
    """The decoder took its process down."""


class Rejected(Exception):
    """An image that does not go into the dataset."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Checked(NamedTuple):
    """A good image."""

    width: int
    """Pixels, as readers will see it."""
    height: int
    encoded: bytes | None
    """New bytes; None: the old ones are fine."""


@dataclass(frozen=True)
class Limits:
    """What is acceptable, and how large it may stay."""

    max_pixels: int = 100_000_000
    min_size: int = 1
    """Of the shorter side, in pixels."""
    max_size: int | None = None
    """Larger images are scaled down until the shorter side has this many pixels."""
    quality: int = 95
    """Of images that are encoded as JPEG anew, 1 to 100."""
    window: tuple[float, float] | None = None
    """Values of black and white in gray images of more than 8 bits; None: 0 and 65535."""


_FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"),
    *(["AVIF"] if features.check("avif") else []),
    *(["JPEG2000"] if features.check("jpg_2000") else []),
    *(["HEIF"] if _HAS_HEIF else []),
)
_LOSSY = ("JPEG", "MPO", "AVIF", "HEIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_ORIENTATION = 0x0112
_PNG_BIT_DEPTH = 24
"""Offset of the bit depth in a PNG file: signature 8, chunk head 8, width 4, height 4."""
_VERIFY_SCALE = 8
"""A JPEG is decoded at an eighth of its size to verify it. That reads its whole stream, and leaves
out the transform back to pixels."""

Image.MAX_IMAGE_PIXELS = None  # the limit is ours: --max_pixels, an error and not a warning
ImageFile.LOAD_TRUNCATED_IMAGES = False


def check(data: bytes, limits: Limits) -> Checked:
    """Check one encoded image.

    Raises:
        Rejected: it is not good, with the reason.
    """
    if not data:
        raise Rejected(Reason.EMPTY)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _check_open(image, data, limits)
    except Rejected:
        raise
    except UnidentifiedImageError as error:
        known = format_of(data) in ("JPEG", "PNG", "GIF", "BMP", "WebP")
        if known:
            raise Rejected(Reason.CORRUPT, f"starts with {data[:16]!r}") from error
        raise Rejected(Reason.UNKNOWN_FORMAT, not_decoded(data)) from error
    except Exception as error:  # Pillow raises nearly every kind for damaged files
        detail = " ".join(str(error).split())
        cut = "truncated" in detail or isinstance(error, EOFError)
        raise Rejected(Reason.TRUNCATED if cut else Reason.CORRUPT, detail) from error


def _check_open(image: ImageFile.ImageFile, data: bytes, limits: Limits) -> Checked:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise Rejected(Reason.TOO_MANY_PIXELS, f"{width}×{height}")
    if min(width, height) < limits.min_size:
        raise Rejected(Reason.TOO_SMALL, f"{width}×{height}")
    turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    shrink = limits.max_size is not None and min(width, height) > limits.max_size
    if _is_plain(image, data) and not turned and not shrink:
        image.draft(None, (max(1, width // _VERIFY_SCALE), max(1, height // _VERIFY_SCALE)))
        image.load()
        _check_stream(image, data)
        return Checked(width, height, None)
    wide = image.mode == "F" or (image.mode == "I" and image.format == "TIFF")
    if wide and limits.window is None:  # nothing says what is white
        raise Rejected(
            Reason.UNKNOWN_FORMAT,
            f"{image.format} of signed, 32-bit or float values is not decoded: give build_dataset "
            "those of black and white with --window, such as --window 0 1",
        )
    lossy = _is_lossy(image, data)
    if shrink and limits.max_size is not None:
        target = _scaled(image.size, limits.max_size)
        image.draft(None, (2 * target[0], 2 * target[1]))  # twice, so that Lanczos decides
    image.load()
    _check_stream(image, data)
    deep = image.mode == "F" or image.mode.startswith("I")
    plain = _windowed(image, *limits.window) if deep and limits.window else _to_rgb(image)
    if turned:
        ImageOps.exif_transpose(plain, in_place=True)
    if shrink and limits.max_size is not None:
        target = _scaled(plain.size, limits.max_size)
        plain = plain.resize(target, Image.Resampling.LANCZOS)
    return Checked(*plain.size, _encode(plain, lossy, limits.quality))


def _check_stream(image: ImageFile.ImageFile, data: bytes) -> None:
    """Reject what TensorFlow's decoder would, though Pillow has decoded it."""
    if image.format in ("JPEG", "MPO") and not jpeg_has_end(data):
        raise Rejected(Reason.TRUNCATED, "the end marker is missing")
    if image.format == "PNG" and (damage := png_damage(data)):
        raise Rejected(Reason.TRUNCATED if "truncated" in damage else Reason.CORRUPT, damage)


def _is_lossy(image: ImageFile.ImageFile, data: bytes) -> bool:
    if image.format == "WEBP":
        return not is_lossless_webp(data)
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSY_TIFF
    return image.format in _LOSSY


def _is_plain(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether every reader makes the same RGB or gray image of the bytes as they are."""
    if image.format in ("JPEG", "MPO"):
        return image.mode in ("RGB", "L")
    return (
        image.format == "PNG"
        and image.mode in ("RGB", "L")
        and data[_PNG_BIT_DEPTH] == 8
        and "transparency" not in image.info
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to RGB; gray stays gray."""
    exif = image.info.get("exif")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        plain = Image.new("RGB", image.size, "white")
        plain.paste(rgba, mask=rgba.getchannel("A"))
    elif image.mode.startswith("I"):  # 16 bits a pixel: the upper 8 are kept
        plain = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode in ("RGB", "L"):
        plain = image.copy()
    else:
        plain = image.convert("L" if image.mode == "1" else "RGB")
    plain.info = {"exif": exif} if exif else {}
    return plain


def _windowed(image: Image.Image, low: float, high: float) -> Image.Image:
    """Gray of 8 bits, 0 at `low` and below and where there is no number, 255 from `high` on."""
    scale = 255 / (high - low)
    # half a step more, for the conversion cuts off what is behind the point
    gray = image.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
    exif = image.info.get("exif")
    gray.info = {"exif": exif} if exif else {}
    return gray


def _scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    ratio = shorter / min(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _encode(image: Image.Image, lossy: bool, quality: int) -> bytes:
    image.info = {}  # no EXIF, no color profile: what is stored is what is seen
    encoded = io.BytesIO()
    if lossy:
        image.save(encoded, "JPEG", quality=quality)
    else:
        image.save(encoded, "PNG")
    return encoded.getvalue()
