"""matplotlib figures to pixels and PNG files, without a display."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 120


def rasterised(figure: Figure) -> np.ndarray:
    """The pixels of a figure, uint8 `[height, width, 3]`."""
    canvas = FigureCanvasAgg(figure)
    with _any_script():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    with _any_script():
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


@contextlib.contextmanager
def _any_script() -> Iterator[None]:
    """A class name in a script that DejaVu lacks is drawn as boxes; a warning for each is noise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
