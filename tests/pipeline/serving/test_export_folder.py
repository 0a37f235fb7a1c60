"""The export folder: same answers as the live model, all or nothing, usable without this code."""

import base64
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import REPOSITORY, encode
from exported_models import CLASS_NAMES, export_tiny_vit, tiny_vit

from groundwork.errors import DiskFull, UserError
from pipeline.data.images.preprocess import EvalPreprocess
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
        tokens = signatures["tokens"](image_bytes=tf.constant(images))["tokens"]
        assert tokens.shape == (len(images), 2, 3, 16)  # patches of 8 pixels
        np.testing.assert_allclose(tokens, model.feature_map(pixels), atol=1e-5)
    assert np.ptp(logits) > 0.1  # a constant model would agree with anything
    stored = export.keras_model()
    np.testing.assert_allclose(stored(pixels, training=False), logits, atol=1e-5)


def test_a_corrupt_image_fails_none_of_the_others(exported):
    export = open_export(str(exported[0]))
    serve = export.saved_model.signatures["serve"]
    before = serve(image_bytes=tf.constant(IMAGES))
    assert before["valid"].numpy().all()
    mixed = [b"<html>", IMAGES[0], IMAGES[0][:60], *IMAGES[1:], b""]
    after = serve(image_bytes=tf.constant(mixed))
    valid = after["valid"].numpy()
    assert valid.tolist() == [False, True, False, True, True, False]
    for name in ("logits", "probabilities"):
        np.testing.assert_allclose(after[name].numpy()[valid], before[name], atol=1e-6)
        assert not after[name].numpy()[~valid].any()
    features = export.saved_model.signatures["features"](image_bytes=tf.constant(mixed))
    assert np.array_equal(features["valid"].numpy(), valid)
    assert not features["features"].numpy()[~valid].any()
    tokens = export.saved_model.signatures["tokens"](image_bytes=tf.constant(mixed))
    assert tokens["tokens"].numpy().any(axis=(1, 2, 3)).tolist() == valid.tolist()
    with pytest.raises(UserError, match="image 2 of a batch of 6 is not a JPEG"):
        export.features([*IMAGES[:2], b"<html>", *IMAGES])


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
        "saved_model_tokens",
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
    assert set(export.saved_model.signatures) == {"features", "tokens"}
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


def test_the_fingerprint_is_of_what_the_model_computes(tmp_path):
    exports = [
        export_tiny_vit(tmp_path / name, origin={"step": step})
        and open_export(str(tmp_path / name))
        for name, step in (("a", 1), ("b", 2))
    ]
    graphs = {export.description.files["saved_model.pb"] for export in exports}
    assert len(graphs) == 2  # TensorFlow never writes the same graph twice
    preprocess = EvalPreprocess((16, 24))

    def fingerprint(model, preprocess=preprocess, activation="softmax"):
        return export_folder._fingerprint(model, preprocess, activation)

    first = fingerprint(tiny_vit())
    assert {export.description.fingerprint for export in exports} == {first}
    assert fingerprint(tiny_vit(dtype="mixed_bfloat16")) == first
    one_weight = tiny_vit()
    one_weight.set_weights([w + (i == 3) * 1e-6 for i, w in enumerate(one_weight.get_weights())])
    others = [
        fingerprint(tiny_vit(seed=2)),
        fingerprint(one_weight),
        fingerprint(tiny_vit(), activation="sigmoid"),
        fingerprint(tiny_vit(num_heads=4)),
        fingerprint(tiny_vit(), EvalPreprocess((16, 24), 30)),
    ]
    assert len({first, *others}) == 6


def test_an_export_keeps_to_the_umask(tmp_path):
    umask = 0o027
    before = os.umask(umask)
    try:
        export_tiny_vit(tmp_path / "m")
    finally:
        os.umask(before)
    for path in [tmp_path / "m", *(tmp_path / "m").rglob("*")]:
        allowed = (0o777 if path.is_dir() else 0o666) & ~umask
        assert path.stat().st_mode & 0o777 == allowed, path


def test_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    flush, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(_opened(handle)), flush(handle)))
    monkeypatch.setattr(
        Path, "rename", lambda path, to: (calls.append("rename"), rename(path, to))[1]
    )
    export_tiny_vit(tmp_path / "m")
    before, after = calls[: calls.index("rename")], calls[calls.index("rename") + 1 :]
    flushed = {Path(path).name for path in before}
    assert {"saved_model.pb", "model.keras", "export.json", "variables.index"} <= flushed
    assert str(tmp_path) in after


def _opened(handle):
    return str(Path(f"/proc/self/fd/{handle}").readlink())


STUCK = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pipeline.serving import export_folder
from exported_models import export_tiny_vit

def stuck(*arguments):
    print("staged", flush=True)
    time.sleep(600)

export_folder.check_parity = stuck
export_tiny_vit(sys.argv[1] + "/m (1)")
"""


def _heed_hangup():
    """A background job of a shell that is to outlive it is started with SIGHUP ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_staging_goes_with_a_signal_or_with_the_next_export(tmp_path, number):
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(tmp_path), tests],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        preexec_fn=_heed_hangup,  # noqa: PLW1509 - it takes no lock
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"staged\n"
        process.send_signal(number)
        process.wait(60)
    left = list(tmp_path.iterdir())
    if number != signal.SIGKILL:
        assert not left
        assert process.returncode == 128 + number
        return
    assert len(left) == 2  # the folder and its lock
    export_tiny_vit(tmp_path / "other")
    assert len(list(tmp_path.iterdir())) == 3
    export_tiny_vit(tmp_path / "m (1)")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m (1)", "other"]


def test_staging_of_an_export_that_runs_is_kept(tmp_path):
    target = str(tmp_path / "m")
    with export_folder._staging_folder(target) as first:
        with export_folder._staging_folder(target) as second:
            assert first.is_dir() and second.is_dir()
        assert first.is_dir() and not second.exists()


def test_an_export_that_was_half_replaced_is_put_back(tmp_path):
    export_tiny_vit(tmp_path / "m")
    before = open_export(str(tmp_path / "m")).description
    lock = tmp_path / ".m-0.staging.lock"
    lock.touch()
    (tmp_path / ".m-0.staging").mkdir()
    (tmp_path / "m").rename(tmp_path / ".m-0.staging.replaced")
    with export_folder._staging_folder(str(tmp_path / "m")):
        assert open_export(str(tmp_path / "m")).description == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a")
    for output in (tmp_path / "file" / "m", tmp_path / "file"):
        with pytest.raises(UserError, match="file") as caught:
            export_tiny_vit(output)
        assert "\n" not in str(caught.value) and caught.value.exit_status == 2

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export_folder, "save_saved_model", full)
    with pytest.raises(DiskFull, match="no space left for"):
        export_tiny_vit(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "no digest of saved_model.pb, variables/variables.index, model.keras"),
        ({"format": 2}, "format 2, this version reads 1"),
        ({"format": True}, "format True"),
        ({"format": None}, "format None"),
        ({"class_names": "abc"}, "class_names"),
        ({"activation": "argmax"}, "activation"),
        ({"preprocess": {"image_size": [16, 24]}}, "preprocess"),
        ({"image_size": [16]}, "image_size"),
        ({"color": "red"}, "unknown: color"),
    ],
)
def test_a_description_that_promises_less_is_refused(exported, tmp_path, change, message):
    folder = tmp_path / "m"
    shutil.copytree(exported[0], folder)
    stored = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps(stored | change))
    with pytest.raises(UserError, match=message) as caught:
        open_export(str(folder))
    assert "\n" not in str(caught.value)


def test_a_digest_outside_of_the_folder_or_a_file_without_one_is_refused(exported, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(exported[0], folder)
    description = folder / "export.json"
    stored = json.loads(description.read_text())
    for name in ("/etc/hostname", "../m/model.keras"):
        files = stored["files"] | {name: "0" * 64}
        description.write_text(json.dumps(stored | {"files": files}))
        with pytest.raises(UserError, match="outside of the folder"):
            open_export(str(folder))
    description.write_text(json.dumps(stored))
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "vocabulary").write_text("x")
    with pytest.raises(UserError, match=r"export \(assets/vocabulary"):
        open_export(str(folder))


def test_keras_file_loads_with_plain_keras(exported):
    model = keras.saving.load_model(exported[0] / "model.keras")
    images = np.zeros((1, 16, 24, 3), np.float32)
    np.testing.assert_allclose(model(images), exported[1](images), atol=1e-6)
