"""`pipeline.inspect_model`: pictures of a tiny ViT, and clear refusals."""

from __future__ import annotations

import json
import subprocess
import sys

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
    printed = capsys.readouterr().out
    for name in (
        "attention",
        "attention_distance",
        "embedding_filters",
        "position_similarity",
    ):
        assert np.asarray(PIL.Image.open(tmp_path / "out" / f"{name}.png")).std() > 0
        assert name in printed
    assert "not read: broken.jpg" in printed
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
        ({"colour": "red"}, "colour"),
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
