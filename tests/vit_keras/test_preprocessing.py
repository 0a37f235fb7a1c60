"""Pixels: what a model says of them, the layer that prepares them, the warning of raw ones."""

from __future__ import annotations

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from vit_family import some_images, tiny_bit, tiny_vit

import vit_keras

EXPECTED = vit_keras.Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.9, "bicubic")


@pytest.mark.any_backend
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_pixels_become_what_the_model_takes(dtype, policy):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype(dtype)
    layer = vit_keras.preprocess(tiny_vit(preprocessing=EXPECTED, dtype=policy))
    got = ops.convert_to_numpy(layer(pixels))
    expected = (pixels / 255.0 - np.array(EXPECTED.mean)) / np.array(EXPECTED.deviation)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    plain = ops.convert_to_numpy(vit_keras.preprocess(tiny_bit())(pixels))
    np.testing.assert_allclose(plain, pixels / 127.5 - 1, atol=1e-6)


@pytest.mark.any_backend
def test_the_layer_is_part_of_a_model(tmp_path):
    model = tiny_vit(preprocessing=EXPECTED, class_names=list("abcde"))
    pixels = keras.Input((32, 48, 3), dtype="uint8")
    whole = keras.Model(pixels, model(vit_keras.preprocess(model)(pixels)))
    whole.save(tmp_path / "whole.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype("uint8")
    again = keras.saving.load_model(tmp_path / "whole.keras")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again(images)), ops.convert_to_numpy(whole(images))
    )
    assert again.layers[-1].preprocessing == EXPECTED
    assert again.layers[-1].class_names == tuple("abcde")


@pytest.mark.parametrize("call", [lambda m, x: m(x), lambda m, x: m.predict(x, verbose=0)])
def test_raw_pixels_are_told(call):
    model = tiny_vit()
    for pixels in (np.full((2, 32, 48, 3), 200.0, "f"), np.zeros((2, 32, 48, 3), "uint8")):
        with pytest.warns(UserWarning, match=r"pixels in \[0, 255\].*vit_keras.preprocess\(model"):
            call(model, pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        call(model, some_images())


def test_adapted_models_keep_what_still_holds():
    model = tiny_vit(preprocessing=EXPECTED, class_names=list("abcde"))
    other = vit_keras.adapt_model(model, num_classes=2)
    assert other.preprocessing == EXPECTED and other.class_names is None
    assert vit_keras.adapt_model(model, image_size=64).class_names == tuple("abcde")


def test_pypis_namesake_is_told(tmp_path):
    info = tmp_path / "vit_keras-0.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vit-keras\nVersion: 0.1.2\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import vit_keras"
    run = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "distribution vit-keras 0.1.2 is installed too" in run.stderr
    assert "pip uninstall vit-keras" in run.stderr
