"""Logits equal those of Hugging Face's PyTorch models, with random weights, in float32."""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras import ops
from vit_family import randomize, some_images

import vit_keras

torch = pytest.importorskip("torch", reason="the extra 'parity' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'parity' is not installed")
pytest.importorskip("safetensors", reason="the extra 'parity' is not installed")

TOLERANCE = 1e-4


def small_noise(model, seed=0):
    """Weights away from their initial values, and logits of order 1 as a trained model's."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        value = ops.convert_to_numpy(weight)
        weight.assign(value + rng.normal(0, 0.02, value.shape).astype(np.float32))
    return model


def hugging_face_vit(model, folder):
    """The same weights in transformers, through a file on disk."""
    vit_keras.save_weights(model, folder / "model.safetensors", "hugging_face")
    config = transformers.ViTConfig(
        hidden_size=model.width,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_heads,
        intermediate_size=model.mlp_dim,
        image_size=list(model.image_size),
        patch_size=model.patch_size,
        num_labels=model.num_classes,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-6,
        hidden_dropout_prob=0.0,
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return transformers.ViTForImageClassification.from_pretrained(folder).eval()


def compare(model, theirs, size, tolerance=TOLERANCE):
    images = some_images(2, size)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).logits.numpy()
    got = ops.convert_to_numpy(model(images))
    assert np.abs(expected).max() > 0.1
    assert np.abs(got - expected).max() < tolerance


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
@pytest.mark.parametrize("variant", ["Ti/16", "S/32", "B/16"])
def test_vit(variant, size, tmp_path):
    model = small_noise(vit_keras.create_model(variant, image_size=size, num_classes=10))
    compare(model, hugging_face_vit(model, tmp_path), size)


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_bit(size, tmp_path):
    model = small_noise(vit_keras.create_model("BiT-R50x1", image_size=size, num_classes=10))
    vit_keras.save_weights(model, tmp_path / "model.safetensors", "hugging_face")
    config = transformers.BitConfig(num_labels=10)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    theirs = transformers.BitForImageClassification.from_pretrained(tmp_path).eval()
    compare(model, theirs, size)


@pytest.mark.parametrize("variant", ["BiT-R101x1", "BiT-R152x1"])
def test_parameter_counts_of_bit(variant):
    from keras import StatelessScope

    with StatelessScope(initialize_variables=False):
        model = vit_keras.create_model(variant, num_classes=1000)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    config = transformers.BitConfig(
        depths=list(model.units),
        num_labels=1000,
    )
    with torch.device("meta"):
        theirs = transformers.BitForImageClassification(config)
    assert count == sum(p.numel() for p in theirs.parameters())


def test_file_of_the_installed_transformers_is_read(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=32,
        num_labels=5,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-6,
    )
    theirs = transformers.ViTForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    model = vit_keras.from_pretrained(tmp_path / "model.safetensors", num_heads=4)
    compare_close = some_images(2, (32, 32))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(compare_close.transpose(0, 3, 1, 2))).logits.numpy()
    np.testing.assert_allclose(ops.convert_to_numpy(model(compare_close)), expected, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [((7, 7), (12, 12)), ((3, 5), (6, 2))])
def test_bicubic_resampling_is_pytorchs(old, new):
    grid = np.random.default_rng(0).normal(size=(*old, 4)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(grid.transpose(2, 0, 1))[None], new, mode="bicubic", align_corners=False
    )[0].numpy()
    got = vit_keras.resample_grid(grid, new, "bicubic").transpose(2, 0, 1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_randomised_tiny_model_agrees_at_an_oblong_grid(tmp_path):
    model = randomize(
        vit_keras.create_model(
            "Ti/16",
            image_size=(48, 32),
            num_classes=5,
            num_layers=3,
            width=32,
            mlp_dim=48,
            num_heads=4,
        )
    )
    compare(model, hugging_face_vit(model, tmp_path), (48, 32))
