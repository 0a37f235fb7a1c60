"""The export folder: same answers as the live model, all or nothing, usable without this code."""

import base64
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode
from exported_models import CLASS_NAMES, export_tiny_vit, tiny_vit

from groundwork.errors import UserError
from pipeline.data.preprocess import EvalPreprocess
from pipeline.serving import export_folder, parity
from pipeline.serving.export_folder import export_model
from pipeline.serving.loading import open_export
from pipeline.serving.parity import ParityError

RNG = np.random.default_rng(0)
IMAGES = [encode(RNG.integers(0, 256, (h, w, 3), np.uint8)) for h, w in [(9, 30), (40, 16), (3, 3)]]
JPEG = encode(RNG.integers(0, 256, (20, 20, 3), np.uint8), "JPEG")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    return folder, export_tiny_vit(folder, origin={"step": 7})


def test_signatures_answer_as_the_live_model(exported):
    folder, model = exported
    export = open_export(str(folder))
    signatures = export.saved_model.signatures
    preprocess = export.preprocess
    for images in (IMAGES, [*IMAGES, JPEG], IMAGES[:1]):
        pixels = tf.stack([preprocess(image) for image in images])
        logits = model(pixels, training=False)
        for answer in (
            signatures["serve"](image_bytes=tf.constant(images)),
            signatures["serving_default"](image_bytes=tf.constant(images)),
            signatures["serve_pixels"](images=pixels),
        ):
            np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
            np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(logits), atol=1e-5)
        np.testing.assert_allclose(export.features(images), model.features(pixels), atol=1e-5)
    assert np.ptp(logits) > 0.1  # a constant model would agree with anything
    stored = export.keras_model()
    np.testing.assert_allclose(stored(pixels, training=False), logits, atol=1e-5)


def test_a_corrupt_image_fails_its_own_request_only(exported):
    serve = open_export(str(exported[0])).saved_model.signatures["serve"]
    before = serve(image_bytes=tf.constant(IMAGES))["logits"].numpy()
    for bad in (b"<html>", IMAGES[0][:60], b""):
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(image_bytes=tf.constant([IMAGES[0], bad]))
    assert np.array_equal(serve(image_bytes=tf.constant(IMAGES))["logits"].numpy(), before)


def test_saved_model_runs_in_a_process_without_this_project(exported, tmp_path):
    """What TensorFlow Serving does: load the graph, decode base64, call the default signature."""
    folder, model = exported
    script = (
        "import base64, json, sys, tensorflow as tf\n"
        "assert not any(p and p.startswith(sys.argv[2]) for p in sys.path)\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "request = json.load(sys.stdin)\n"
        "images = [base64.b64decode(x['image_bytes']['b64']) for x in request['instances']]\n"
        "answer = serve(image_bytes=tf.constant(images))\n"
        "assert not {'vit_keras', 'pipeline'} & set(sys.modules)\n"
        "print(json.dumps({k: v.numpy().tolist() for k, v in answer.items()}))\n"
    )
    request = {
        "instances": [
            {"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in IMAGES
        ]
    }
    project = str(export_folder.__file__).rsplit("/pipeline/", 1)[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(folder), project + "/pipeline"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    answer = json.loads(done.stdout)
    preprocess = EvalPreprocess(model.image_size)
    expected = model(tf.stack([preprocess(image) for image in IMAGES]), training=False)
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)


def test_description_says_what_is_inside(exported):
    folder, _ = exported
    description = open_export(str(folder)).description
    assert description.class_names == CLASS_NAMES
    assert description.image_size == (16, 24)
    assert description.variant == "tiny"
    assert description.origin["step"] == 7
    assert set(description.parity) == {
        "saved_model_features",
        "keras_features",
        "saved_model_logits",
        "saved_model_pixels_logits",
        "keras_logits",
    }
    assert max(description.parity.values()) < 1e-5
    written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert written == {*description.files, "export.json"}


def test_model_without_head_has_features_only(tmp_path):
    export_tiny_vit(tmp_path / "m", tiny_vit(num_classes=None))
    export = open_export(str(tmp_path / "m"))
    assert list(export.saved_model.signatures) == ["features"]
    assert export.features(IMAGES).shape == (3, 16)


def test_sigmoid_probabilities(tmp_path):
    model = export_tiny_vit(tmp_path / "m", activation="sigmoid")
    images = RNG.uniform(-1, 1, (2, 16, 24, 3)).astype(np.float32)
    answer = open_export(str(tmp_path / "m")).saved_model.signatures["serve_pixels"](
        images=tf.constant(images)
    )
    expected = tf.sigmoid(model(images, training=False))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_a_model_trained_in_bfloat16_is_exported_in_float32(tmp_path):
    reference = tiny_vit()
    low = tiny_vit(dtype="mixed_bfloat16")
    export_tiny_vit(tmp_path / "m", low)
    export = open_export(str(tmp_path / "m"))
    preprocess = export.preprocess
    pixels = tf.stack([preprocess(image) for image in IMAGES])
    np.testing.assert_allclose(
        export.features(IMAGES), reference.features(pixels, training=False), atol=1e-5
    )
    assert export.keras_model().compute_dtype == "float32"
    assert low.compute_dtype == "bfloat16"


def test_failed_parity_leaves_the_old_export_and_no_litter(tmp_path, monkeypatch):
    folder = tmp_path / "m"
    export_tiny_vit(folder)
    before = open_export(str(folder)).description
    monkeypatch.setattr(parity.keras.saving, "load_model", lambda *args, **kwargs: tiny_vit(seed=1))
    with pytest.raises(ParityError, match="keras_features differs from the live model by"):
        export_tiny_vit(folder, tiny_vit(seed=2))
    assert open_export(str(folder)).description == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_new_export_replaces_the_old_and_nothing_else(tmp_path):
    folder = tmp_path / "m"
    export_tiny_vit(folder)
    first = open_export(str(folder)).description.fingerprint
    export_tiny_vit(folder, tiny_vit(seed=2))
    assert open_export(str(folder)).description.fingerprint != first
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(UserError, match="is not an export folder"):
        export_tiny_vit(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"


def test_class_names_must_fit_the_head(tmp_path):
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        export_model(tiny_vit(), EvalPreprocess((16, 24)), "ab", str(tmp_path / "m"), variant="t")


def test_open_export_refuses_what_is_missing_foreign_or_changed(tmp_path):
    with pytest.raises(UserError, match=r"does not exist.*pipeline\.export"):
        open_export(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"not an export folder \(no export.json\)"):
        open_export(str(tmp_path))
    folder = tmp_path / "m"
    export_tiny_vit(folder)
    data = folder / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged or was changed.*variables\.data"):
        open_export(str(folder))
    (folder / "export.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        open_export(str(folder))


def test_keras_file_loads_with_plain_keras(exported):
    model = keras.saving.load_model(exported[0] / "model.keras")
    images = np.zeros((1, 16, 24, 3), np.float32)
    np.testing.assert_allclose(model(images), exported[1](images), atol=1e-6)
