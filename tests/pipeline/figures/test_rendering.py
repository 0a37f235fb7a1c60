"""Figures with text in any script."""

from __future__ import annotations

import warnings

from matplotlib.figure import Figure

from pipeline.figures.rendering import rasterized, save


def test_a_title_in_a_script_without_font_is_drawn_without_a_warning(tmp_path):
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.suptitle("犬")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = rasterized(figure)
        for name in ("a.png", "b.png"):
            save(figure, tmp_path / name)
    assert pixels.shape == (50, 100, 3) and pixels.min() < 128
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
