"""Figures with text in any script."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.figures.rendering import fitting, rasterized, save, without_overlap
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


def test_class_names_are_no_mathematics_and_powers_of_ten_are(tmp_path):
    figure = confusion_figure(np.eye(3, dtype=int), ["$\\frac{1$", "$x$ and $y$", "b_c"])
    figure.axes[0].set_title("$\\alpha$")
    save(figure, tmp_path / "confusion.png")
    drawn = {text.get_text(): text for text in figure.findobj(Text) if text.get_text()}
    for name in ("$\\frac{1$", "$x$ and $y$", "$\\alpha$"):
        assert not drawn[name].get_parse_math()
    figure = Figure()
    axes = figure.subplots()
    axes.loglog([1, 1e6], [1, 1e6])
    rasterized(figure)
    (label, *_) = [one for one in axes.get_xticklabels() if "10^{2}" in one.get_text()]
    assert label.get_parse_math()


def test_the_names_of_fourteen_members_cover_each_other_nowhere():
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    generator = np.random.default_rng(0)
    x, y = 10 ** generator.uniform(18, 20, 14), generator.uniform(50, 90, 14)
    axes.scatter(x, y, label="ViT")
    axes.set_xscale("log")
    axes.margins(0.15)
    legend = axes.legend(loc="lower right")
    places = [(f"ViT-L/16-{i}", x[i], y[i]) for i in range(14)]
    without_overlap(axes, places)
    canvas = FigureCanvasAgg(figure)
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]
    boxes.append(legend.get_window_extent())
    assert len(boxes) == 15
    for one, other in itertools.combinations(boxes, 2):
        assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_what_does_not_fit_ends_in_dots():
    assert fitting("ant", 3) == "ant"
    assert fitting("antelope", 4) == "ant…"


def test_no_blank_gap_above_the_confusion_matrix(tmp_path):
    save(confusion_figure(np.eye(12, dtype=int), [f"class {i}" for i in range(12)]), tmp_path / "c")
    import PIL.Image

    pixels = np.asarray(PIL.Image.open(tmp_path / "c").convert("L"))
    inked = np.flatnonzero((pixels < 250).any(axis=1))
    assert inked[0] < 0.06 * len(pixels)


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
