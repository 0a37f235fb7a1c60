"""`pipeline.inspect_model`: pictures of a tiny ViT, and clear refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from exported_models import export_tiny_vit, tiny_vit

import vit_keras
from groundwork.errors import UserError
from pipeline import inspect_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An export of a tiny ViT, and a folder with ten images and a damaged one."""
    root = tmp_path_factory.mktemp("inspect")
    export_tiny_vit(root / "export")
    rng = np.random.default_rng(0)
    (root / "photos" / "deep").mkdir(parents=True)
    for i in range(10):
        pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(root / "photos" / "deep" / f"photo{i}.png")
    (root / "photos" / "broken.jpg").write_bytes(b"<html>")
    return root


def run(root, output, **options):
    arguments = {"model": root / "export", "images": root / "photos", "output": output, **options}
    return inspect_model.main([f"--{key}={value}" for key, value in arguments.items()])


def test_pictures_report_and_events(folders, tmp_path, capsys):
    assert run(folders, tmp_path / "out") == 0
    printed, errors = capsys.readouterr()
    for name in (
        "attention",
        "attention_distance",
        "embedding_filters",
        "position_similarity",
    ):
        assert np.asarray(PIL.Image.open(tmp_path / "out" / f"{name}.png")).std() > 0
        assert name in printed
    assert f"not read: {folders / 'photos' / 'broken.jpg'}" in errors
    assert list((tmp_path / "out" / "tensorboard").glob("events.*"))


def test_distance_is_the_mean_over_all_images(folders, tmp_path):
    from pipeline.serving.loading import open_export

    run(folders, tmp_path)
    report = json.loads((tmp_path / "inspection.json").read_text())
    assert report["images"] == 10  # two batches, of different size
    export = open_export(str(folders / "export"))
    model = export.keras_model()
    paths = sorted((folders / "photos" / "deep").iterdir())
    images = np.stack([export.preprocess(p.read_bytes()).numpy() for p in paths])
    weights = vit_keras.attention_weights(model, images)
    pixels = model.image_size[0] / model.grid_size[0]
    expected = vit_keras.mean_attention_distance(weights, model.grid_size, pixels)
    np.testing.assert_allclose(report["mean_attention_distance_pixels"], expected, rtol=1e-5)


def test_images_are_drawn_evenly_from_the_classes():
    paths = [
        Path(name, f"{i:03}.png") for name, n in (("a", 90), ("b", 5), ("c", 40)) for i in range(n)
    ]
    drawn = inspect_model.drawn_evenly(paths)
    assert sorted(drawn) == paths
    for count in (3, 9, 15):
        found = Counter(path.parent.name for path in drawn[:count])
        assert found == {"a": count // 3, "b": count // 3, "c": count // 3}
    assert Counter(path.parent.name for path in drawn[:35]) == {"a": 15, "b": 5, "c": 15}
    first = [path for path in drawn if path.parent.name == "a"][:20]
    assert first != sorted(first)  # a folder's first images are often alike
    assert drawn == inspect_model.drawn_evenly(paths)


def test_files_that_are_no_images_are_named(folders, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("logo.svg", "notes.txt"):
        (tmp_path / "photos" / name).write_text("<svg/>")
    with pytest.raises(UserError, match=r"only logo\.svg, notes\.txt: .*convert"):
        run(folders, tmp_path / "out", images=tmp_path / "photos")
    pixels = np.zeros((30, 40, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    run(folders, tmp_path / "out", images=tmp_path / "photos")
    assert "left out: logo.svg, notes.txt: convert them" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_one_line(folders, tmp_path):
    (tmp_path / "file").write_text("a")
    for output in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(
            UserError, match=r"cannot write .*file.*: name another --output"
        ) as caught:
            run(folders, output)
        assert "\n" not in str(caught.value)


def test_distance_figure_shows_every_head_whole():
    from pipeline.figures.model_pictures import distance_figure
    from pipeline.figures.rendering import rasterized

    figure = distance_figure(np.array([[0.0, 3.0, 9.0], [1.0, 2.0, 10.0]]))
    rasterized(figure)
    (axes,) = figure.axes
    told = {text.get_text() for text in axes.get_legend().get_texts()}
    assert told == {"one head", "mean of the heads"}
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert not any(points.get_clip_on() for points in axes.collections)
    assert axes.get_ylim()[1] > 10


def test_a_model_without_positions_gets_the_other_pictures(folders, tmp_path):
    export_tiny_vit(tmp_path / "export", tiny_vit(position_embedding="none"))
    run(folders, tmp_path / "out", model=tmp_path / "export")
    assert (tmp_path / "out" / "embedding_filters.png").exists()
    assert not (tmp_path / "out" / "position_similarity.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "nowhere"}, "nowhere does not exist"),
        ({"model": "nowhere"}, "nowhere does not exist"),
        ({"max_images": 0}, "at least 1"),
        ({"color": "red"}, "color"),
    ],
)
def test_wrong_input(folders, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run(folders, tmp_path, **options)


def test_a_folder_without_images_and_a_model_without_attention(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        run(folders, tmp_path, images=tmp_path / "empty")
    export_tiny_vit(tmp_path / "axial", tiny_vit(axial=True, classifier="gap"))
    with pytest.raises(UserError, match="no plain ViT"):
        run(folders, tmp_path, model=tmp_path / "axial")


def test_help_documents_every_field_without_tensorflow():
    code = (
        "import sys; from pipeline import inspect_model\n"
        "try: inspect_model.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for text in ("--model", "Export folder", "--images", "--output", "--max_images"):
        assert text in done.stdout
