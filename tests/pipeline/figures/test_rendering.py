"""Figures with text in any script."""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib.figure import Figure

from pipeline.figures.rendering import rasterized, save
from pipeline.figures.transfer_figures import confusion_figure


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


def test_a_class_name_with_dollars_is_no_formula(tmp_path):
    """Matplotlib would refuse the first as a wrong formula, and hide the dollars of the others."""
    figure = confusion_figure(np.eye(3, dtype=np.int64), [r"$\frac{1$", "$5$", "a $"])
    rasterized(figure)
    figure.suptitle("cost in $, in $")
    save(figure, tmp_path / "names.png")


def test_the_powers_on_a_logarithmic_axis_stay_formulas():
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([1, 1000], [1, 2])
    axes.set_xscale("log")
    for _ in range(2):
        rasterized(figure)
    assert all(label.get_parse_math() for label in axes.get_xticklabels())
