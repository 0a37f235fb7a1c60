"""matplotlib figures to pixels and PNG files, without a display."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.axes
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import BboxBase
from numpy.typing import NDArray

from groundwork import storage

DPI = 120


def rasterized(figure: Figure) -> NDArray[np.uint8]:
    """The pixels of a figure, uint8 `[height, width, 3]`."""
    canvas = FigureCanvasAgg(figure)
    _names_as_they_are(figure)
    with _any_script():
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels: NDArray[np.uint8] = np.asarray(
        canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    )[..., :3]
    return pixels


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG, whole or not at all; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    _names_as_they_are(figure)
    with _any_script(), storage.create(str(path)) as file:
        figure.savefig(
            file, format="png", dpi=DPI, metadata={"Software": None}, bbox_inches="tight"
        )


def fitting(text: str, length: int) -> str:
    """`text`, cut to `length` characters; three dots in one tell that it was."""
    return text if len(text) <= length else text[: length - 1] + "…"


def without_overlap(axes: matplotlib.axes.Axes, places: Sequence[tuple[str, float, float]]) -> None:
    """Write a small name beside each point `(name, x, y)`.

    No name covers another, a point or the legend, unless there is no room. The figure's layout and
    limits have to be final. Each name takes the first free place around its point, from near to
    far, and a thin line to it where it is far.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    _names_as_they_are(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    taken = [axes.transData.transform((x, y)) for _, x, y in places]
    boxes = [(x - 4, y - 4, x + 4, y + 4) for x, y in taken]
    if legend := axes.get_legend():
        boxes.append(_corners(legend.get_window_extent()))
    frame = axes.get_window_extent()
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    offsets = [
        (sign_x * reach, sign_y * reach * 0.8)
        for reach in (5, 12, 20, 30, 42)
        for sign_x, sign_y in ((1, -1), (1, 1), (-1, -1), (-1, 1), (0, 1.6), (0, -1.6))
    ]
    for name, x, y in places:
        text = axes.annotate(
            name,
            (x, y),
            xytext=(5, -4),
            textcoords="offset points",
            fontsize=7,
            color="0.3",
            annotation_clip=False,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
        )
        for dx, dy in offsets:
            text.set_position((dx, dy))
            text.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
            text.set_verticalalignment("bottom" if dy > 0 else "top")
            text.update_positions(renderer)
            # of the text alone: with its line to the point it always covers that
            box = _corners(Text.get_window_extent(text, renderer))
            inside = frame.x0 <= box[0] and box[2] <= frame.x1
            inside = inside and frame.y0 <= box[1] and box[3] <= frame.y1
            if inside and not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)


def _corners(box: BboxBase) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _names_as_they_are(figure: Figure) -> None:
    """Have matplotlib draw `$` as it stands: a class name that holds one is no formula.

    The numbers that matplotlib itself writes on logarithmic axes are, and stay so.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text() and not text.get_text().startswith(r"$\mathdefault{"):
            text.set_parse_math(False)


@contextlib.contextmanager
def _any_script() -> Iterator[None]:
    """A class name in a script that DejaVu lacks is drawn as boxes; a warning for each is noise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
