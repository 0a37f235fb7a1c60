"""Pictures of letters, drawn as if by many hands: a corpus that needs no download.

A letter is drawn once per font and pen width, then bent for each picture: an affine warp and a
smooth wobble move the corners of a coarse grid, and the result is blurred, seen at a low
resolution, dimmed and covered with noise. Bright strokes on dark, as scanned handwriting comes.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

LETTERS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghijmnqrty"
    "ΓΔΘΛΞΠΣΦΨΩβγδεζηλμξπσςτφχψωϑϖϠ"
    "ДЖЗИЙЛЦЧШЩЪЫЬЭЮЯбЂЋЉЊЏѢѪԐԒѬ"
    "ÆæŒœØßðÞþŁəɔʌɥɯɐɕɖɗɘɚɞɟɠɤɧɨɬɭɮɰɱɲɳɷɹɻɽɾʁʂʃʇʈʉʊʎʐʑʒʓʔʖʛʞʢƔƕƢƣƧƪƸƾȢȣȜɎ"
)
"""One class each: Latin with its phonetic extension, Greek, Cyrillic. No digits. A letter that
looks like another one here, at any size and slant, is left out: c beside C, Cyrillic А beside A."""

SIZE = 32
"""Height and width of a picture, in pixels."""

_FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
_PENS = (-2, 0, 1, 2)
"""Pixels added to the outline on the canvas; -2: the stroke is thinned instead."""
_CANVAS = 96
_GLYPH = 60
"""Longer side of the undistorted letter on the canvas."""
_GRID = 4
"""Cells of the warped grid in each direction."""
_STEPS = np.arange(_GRID + 1) * (SIZE // _GRID)
_CORNERS = np.stack(np.meshgrid(_STEPS, _STEPS), axis=-1) - SIZE / 2
"""(x, y) of the grid's corners from the middle of the picture, [_GRID + 1, _GRID + 1, 2]."""
_CELLS = [
    (x, y, x + SIZE // _GRID, y + SIZE // _GRID)
    for y in _STEPS[:-1].tolist()
    for x in _STEPS[:-1].tolist()
]
_MISSING = "\uffff"
"""No font has it, so it shows what a font draws for a letter that it lacks."""


def render(letter: str, rng: np.random.Generator) -> Image.Image:
    """Draw a letter with all its variation, grayscale [SIZE, SIZE], a function of `rng` alone."""
    fonts = _fonts_with(letter)
    font = fonts[int(rng.integers(len(fonts)))]
    canvas = _draw(letter, font, _PENS[int(rng.integers(len(_PENS)))])
    image = canvas.transform(
        (SIZE, SIZE), Image.Transform.MESH, _warped_grid(rng), Image.Resampling.BILINEAR
    )
    # a third as they are, a third blurred, a third as drawn on a coarser grid of pixels
    look = rng.random()
    if look < 1 / 3:
        side = int(rng.integers(8, 20))
        coarse = image.resize((side, side), Image.Resampling.BOX)
        image = coarse.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    elif look < 2 / 3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    return _expose(image, rng)


def encode(image: Image.Image) -> bytes:
    """PNG, the same bytes each time."""
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _warped_grid(rng: np.random.Generator) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Cells of the picture, each with the canvas quadrilateral that it shows."""
    angle = rng.normal(0, math.radians(9))
    shear = rng.normal(0, 0.2)
    # the letter fills between about half and all of the picture
    scale_x, scale_y = np.exp(rng.normal(0.02, 0.14, 2)) * (_GLYPH / SIZE) * 1.25
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([scale_x, scale_y])
    shift = rng.uniform(-3, 3, 2)

    wobble = rng.normal(0, rng.uniform(0, 2.6), _CORNERS.shape)
    source = (_CORNERS + shift) @ matrix.T + _CANVAS / 2 + wobble
    # upper left, lower left, lower right, upper right: the order that Pillow takes
    quads = np.concatenate(
        (source[:-1, :-1], source[1:, :-1], source[1:, 1:], source[:-1, 1:]), axis=-1
    ).reshape(_GRID * _GRID, 8)
    return list(zip(_CELLS, map(tuple, quads.tolist()), strict=True))


def _expose(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Vary brightness and contrast and add noise."""
    pixels = np.asarray(image, np.float32)
    dark = rng.uniform(0, 30)
    bright = rng.uniform(170, 255)
    noise = rng.normal(0, rng.uniform(0, 14), pixels.shape).astype(np.float32)
    pixels = dark + pixels * ((bright - dark) / 255) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@functools.cache
def _draw(letter: str, font_name: str, pen: int) -> Image.Image:
    """The letter in the middle of the canvas, its longer side _GLYPH pixels, white on black."""
    font = _font(font_name)
    left, top, right, bottom = font.getbbox(letter)
    # drawn at twice its size on a canvas twice as large: letters differ in size within a font
    large = Image.new("L", (int(right - left) + 16, int(bottom - top) + 16))
    ImageDraw.Draw(large).text(
        (8 - left, 8 - top), letter, font=font, fill=255, stroke_width=max(pen, 0)
    )
    if pen < 0:
        large = large.filter(ImageFilter.MinFilter(1 - pen))
    box = large.getbbox()
    if box is None:  # thinned away
        return _draw(letter, font_name, 0)
    ink = large.crop(box)
    ratio = _GLYPH / max(ink.size)
    size = (max(1, round(ink.width * ratio)), max(1, round(ink.height * ratio)))
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(
        ink.resize(size, Image.Resampling.BILINEAR),
        ((_CANVAS - size[0]) // 2, (_CANVAS - size[1]) // 2),
    )
    return canvas


@functools.cache
def _fonts_with(letter: str) -> tuple[str, ...]:
    """Names of the fonts that have the letter."""
    return tuple(name for name in _FONTS if _mask(name, letter) != _mask(name, _MISSING))


def _mask(font_name: str, letter: str) -> bytes:
    return bytes(_font(font_name).getmask(letter))


@functools.cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_folder() / f"{name}.ttf", _GLYPH)


@functools.cache
def _font_folder() -> Path:
    # found, not imported: matplotlib takes seconds to import and is not needed otherwise
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib, whose fonts draw the glyphs, is not installed")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
