"""A model goes to a hub on this machine, and every command takes it from there by its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from exported_models import CLASS_NAMES, export_tiny_vit, tiny_vit
from loopback_hub import TOKEN, hub_server
from PIL import Image

import vit_keras
from groundwork.errors import UserError
from pipeline.named_models.evaluated_model import open_evaluated_model
from pipeline.named_models.pixel_range import in_pipeline_range
from pipeline.named_models.publishing import write_repository
from pipeline.serving.loading import open_export

ROOT = Path(__file__).resolve().parents[2]
# One process for all commands: huggingface_hub reads HF_ENDPOINT when it is imported.
CODE = """
import json, sys
import numpy as np
import vit_keras
from pipeline import classify, export, inspect_model, publish
from pipeline.named_models.evaluated_model import initial_weights

model, images, output = sys.argv[1:]
def run(command, *arguments):
    sys.argv = ["command", *arguments]
    assert command.main() == 0

run(publish, "--model", model, "--repo", "me/photos", "--license", "mit", "--private", "true")
name = "hf://me/photos"
loaded = vit_keras.from_pretrained(name)
np.savez(output + "/weights.npz", *loaded.get_weights())
run(classify, "--model", name, "--top", "1", images + "/0.png")
run(export, "--model", name, "--output", output + "/exported")
shown = ["--images", images, "--output", output + "/inspected"]
run(inspect_model, "--model", output + "/exported", *shown)
assert initial_weights(name, (32, 32)).image_size == (32, 32)
print(json.dumps([list(loaded.class_names), loaded.preprocessing.config()]))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_published_then_used_by_name(tmp_path, images):
    model = export_tiny_vit(
        tmp_path / "model",
        tiny_vit((16, 16)),
        origin={"data": "pets", "metrics": {"accuracy": 0.5}},
    )
    with hub_server() as hub:
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(ROOT),
        }
        arguments = [str(tmp_path / "model"), str(images), str(tmp_path)]
        done = subprocess.run(
            [sys.executable, "-c", CODE, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "private" in (hub.created[0].get("visibility"), *hub.created[0])  # by version
    files = hub.repos["me/photos"]
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    _, head, card = files["README.md"].decode().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["pipeline_tag"] == "image-classification" and metadata["license"] == "mit"
    result = metadata["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.5}]
    assert result["dataset"]["name"] == "pets"
    assert 'vit_keras.from_pretrained("hf://me/photos")' in card
    with np.load(tmp_path / "weights.npz") as arrays:
        for mine, theirs in zip(model.get_weights(), arrays.values(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    names, preprocessing = json.loads(done.stdout.strip().splitlines()[-1])
    assert names == list(CLASS_NAMES)
    assert preprocessing["interpolation"] == "bilinear"
    assert (tmp_path / "inspected" / "index.html").is_file()
    exported, original = open_export(str(tmp_path / "exported")), open_export(arguments[0])
    assert exported.description.class_names == CLASS_NAMES
    content = [(images / "0.png").read_bytes()]
    np.testing.assert_allclose(
        exported.features(content), original.features(content), rtol=1e-5, atol=1e-5
    )


def test_a_model_without_a_layout_is_published_as_its_keras_file(tmp_path):
    export_tiny_vit(tmp_path / "model", tiny_vit((16, 16), position_embedding="learned_2d"))
    (tmp_path / "repo").mkdir()
    write_repository(open_export(str(tmp_path / "model")), "a/b", tmp_path / "repo", None)
    assert {path.name for path in (tmp_path / "repo").iterdir()} == {"README.md", "model.keras"}
    assert vit_keras.from_pretrained(tmp_path / "repo").class_names == CLASS_NAMES


@pytest.mark.parametrize("options", [{}, {"pre_norm": True, "patch_bias": False}])
def test_a_model_of_other_pixels_takes_those_of_the_pipeline(options):
    expected = {"mean": (0.48, 0.45, 0.41), "deviation": (0.27, 0.26, 0.28)}
    model = tiny_vit((16, 16), preprocessing=expected, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    answers = np.asarray(model(vit_keras.preprocess(model)(pixels)))
    ours = in_pipeline_range(model, "tiny")
    np.testing.assert_allclose(ours(pixels / 127.5 - 1), answers, rtol=1e-4, atol=1e-4)
    assert ours.preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_resnet_of_other_pixels_is_refused():
    model = vit_keras.create_model(
        "R+Ti/16",
        image_size=32,
        num_classes=2,
        num_layers=1,
        preprocessing={"mean": (0.4, 0.4, 0.4), "deviation": (0.2, 0.2, 0.2)},
    )
    with pytest.raises(UserError, match=r"mean \(0.4, 0.4, 0.4\).*no plain ViT"):
        in_pipeline_range(model, "r")


def test_an_official_file_becomes_an_export_with_its_own_crop(tmp_path):
    model = tiny_vit((16, 16), preprocessing={"crop": 0.8, "interpolation": "bicubic"})
    path = tmp_path / "tiny.safetensors"
    vit_keras.save_weights(model, path, "timm")
    export = open_evaluated_model(str(path)).as_export(str(tmp_path / "out"))
    assert export.preprocess.eval_resize == 20
    assert export.preprocess.interpolation == "bicubic"
    assert export.description.class_names == ("0", "1", "2")
