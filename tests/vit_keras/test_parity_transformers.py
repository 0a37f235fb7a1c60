"""Outputs equal those of Hugging Face's PyTorch models, with random weights, in float32.

Files are theirs, as `save_pretrained` writes them, and are read by the library's own defaults.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras import ops
from vit_family import FAMILY, randomize, some_images, tiny_vit

import vit_keras

torch = pytest.importorskip("torch", reason="the extra 'parity' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'parity' is not installed")
pytest.importorskip("safetensors", reason="the extra 'parity' is not installed")

TOLERANCE = 1e-4
SIZE = (64, 96)
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": list(SIZE),
    "patch_size": 16,
}


def square(config):
    """DINOv2, CLIP and SigLIP have square images alone."""
    return {**config, "image_size": 64}


DINOV2 = {key: value for key, value in square(TINY).items() if key != "intermediate_size"}


# What makes their model, and which of its outputs is ours.
KINDS = {
    "vit": (lambda t: t.ViTForImageClassification(t.ViTConfig(**TINY, num_labels=5)), "logits"),
    "vit_without_qkv_bias": (
        lambda t: t.ViTForImageClassification(t.ViTConfig(**TINY, num_labels=5, qkv_bias=False)),
        "logits",
    ),
    "vit_tanh": (
        lambda t: t.ViTForImageClassification(
            t.ViTConfig(**TINY, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6)
        ),
        "logits",
    ),
    "vit_model": (lambda t: t.ViTModel(t.ViTConfig(**TINY)), "pooler_output"),
    "vit_mae": (
        lambda t: t.ViTModel(t.ViTConfig(**TINY), add_pooling_layer=False),
        lambda out: out.last_hidden_state[:, 0],
    ),
    "deit": (lambda t: t.DeiTForImageClassification(t.DeiTConfig(**TINY, num_labels=5)), "logits"),
    "deit_distilled": (
        lambda t: t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**TINY, num_labels=5)),
        "logits",
    ),
    "ijepa": (
        lambda t: t.IJepaModel(t.IJepaConfig(**TINY), add_pooling_layer=False),
        lambda out: out.last_hidden_state.mean(1),
    ),
    "dinov2": (lambda t: t.Dinov2Model(t.Dinov2Config(**DINOV2)), "pooler_output"),
    "dinov2_swiglu": (
        lambda t: t.Dinov2Model(t.Dinov2Config(**DINOV2, use_swiglu_ffn=True)),
        "pooler_output",
    ),
    "dinov2_classifier": (
        lambda t: t.Dinov2ForImageClassification(t.Dinov2Config(**DINOV2, num_labels=5)),
        "logits",
    ),
    "dinov2_with_registers": (
        lambda t: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**DINOV2)),
        "pooler_output",
    ),
    "dinov3": (
        lambda t: t.DINOv3ViTModel(t.DINOv3ViTConfig(**TINY, num_register_tokens=4)),
        "pooler_output",
    ),
    "dinov3_gated": (
        lambda t: t.DINOv3ViTModel(
            t.DINOv3ViTConfig(**TINY, use_gated_mlp=True, hidden_act="silu", num_register_tokens=1)
        ),
        "pooler_output",
    ),
    "siglip": (
        lambda t: t.SiglipVisionModel(t.SiglipVisionConfig(**square(TINY))),
        "pooler_output",
    ),
    "siglip_classifier": (
        lambda t: t.SiglipForImageClassification(
            t.SiglipConfig(vision_config=square(TINY), num_labels=5)
        ),
        "logits",
    ),
    "clip": (lambda t: t.CLIPVisionModel(t.CLIPVisionConfig(**square(TINY))), "pooler_output"),
    "clip_of_laion": (
        lambda t: t.CLIPVisionModel(t.CLIPVisionConfig(**square(TINY), hidden_act="gelu")),
        "pooler_output",
    ),
    "clip_projection": (
        lambda t: t.CLIPVisionModelWithProjection(
            t.CLIPVisionConfig(**square(TINY), projection_dim=6)
        ),
        "image_embeds",
    ),
    "clip_classifier": (
        lambda t: t.CLIPForImageClassification(
            t.CLIPConfig(vision_config=square(TINY), num_labels=5)
        ),
        "logits",
    ),
}


def randomized(theirs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in theirs.parameters():
            scale = 0.2 if weight.ndim == 1 else 0.7 * weight[0].numel() ** -0.5
            weight.add_(scale * torch.randn(weight.shape, generator=generator))
    return theirs.eval()


def outputs(theirs, output, images):
    with torch.no_grad():
        out = theirs(pixel_values=torch.from_numpy(images.transpose(0, 3, 1, 2)))
    return (out[output] if isinstance(output, str) else output(out)).numpy()


def compare(model, theirs, output="logits", tolerance=TOLERANCE):
    images = some_images(2, model.image_size)
    expected = outputs(theirs, output, images)
    got = ops.convert_to_numpy(model(images))
    assert np.abs(expected).max() > 0.1
    assert np.abs(got - expected).max() < tolerance


@pytest.mark.filterwarnings("ignore:.*nothing beside it tells")
@pytest.mark.parametrize("kind", KINDS)
def test_their_file_gives_their_outputs(kind, tmp_path):
    make, output = KINDS[kind]
    theirs = randomized(make(transformers))
    theirs.save_pretrained(tmp_path)
    compare(vit_keras.from_pretrained(tmp_path / "model.safetensors"), theirs, output)


@pytest.mark.filterwarnings("ignore:.*nothing beside it tells")
def test_what_is_beside_the_image_model_is_left_aside_and_named(tmp_path):
    decoder = {f"decoder_{key}": 16 for key in ("hidden_size", "intermediate_size")}
    config = transformers.ViTMAEConfig(
        **square(TINY), **decoder, decoder_num_hidden_layers=1, decoder_num_attention_heads=2
    )
    theirs = randomized(transformers.ViTMAEForPreTraining(config))
    theirs.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="left aside what is no part of the image model: decoder"):
        model = vit_keras.from_pretrained(tmp_path / "model.safetensors")
    # Its encoder masks and shuffles; a ViT of the same weights does not.
    whole = transformers.ViTModel(
        transformers.ViTConfig(**square(TINY)), add_pooling_layer=False
    ).eval()
    whole.load_state_dict(theirs.vit.state_dict())
    compare(model, whole, lambda out: out.last_hidden_state[:, 0])


def test_dinov2_at_another_resolution(tmp_path):
    theirs = randomized(transformers.Dinov2Model(transformers.Dinov2Config(**DINOV2)))
    theirs.save_pretrained(tmp_path)
    for size in ((96, 96), (48, 80)):
        model = vit_keras.from_pretrained(
            tmp_path / "model.safetensors", image_size=size, preprocessing={}
        )
        compare(model, theirs, "pooler_output")


WRITTEN = {
    "plain": ("ViTForImageClassification", {"activation": "gelu"}),
    "distilled": ("DeiTForImageClassificationWithTeacher", {}),
    "dinov2_classifier": ("Dinov2ForImageClassification", {}),
    "dinov2": ("Dinov2WithRegistersModel", {"num_classes": None}),
    "dinov3": ("DINOv3ViTModel", {"num_classes": None}),
    "map": ("SiglipVisionModel", {"num_classes": None}),
    "clip": ("CLIPVisionModelWithProjection", {}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_transformers_reads_what_is_written_for_it(name, tmp_path):
    """With the config.json that is written beside it, and no array missing or surplus."""
    class_name, options = WRITTEN[name]
    model = FAMILY[name](image_size=64, **options)
    if name == "dinov3":
        for block in model.blocks:
            bias = block.attention.qkv.bias.numpy().copy()
            bias[32:64] = 0
            block.attention.qkv.bias.assign(bias)
    if name == "clip":
        model.head.bias.assign(np.zeros(5, np.float32))
    vit_keras.save_weights(model, tmp_path / "model.safetensors", "hugging_face")
    theirs, info = getattr(transformers, class_name).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not info["unexpected_keys"] and not info["mismatched_keys"], info
    assert all("mask_token" in key for key in info["missing_keys"]), info
    output = "pooler_output" if model.num_classes is None else "logits"
    compare(model, theirs.eval(), "image_embeds" if name == "clip" else output)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"final_norm": "none"}, "no place for final_norm 'none'"),
        ({"classifier": "gap", "class_token": True}, "no place for classifier 'gap'"),
        ({"norm": "rms_norm"}, "no place for norm 'rms_norm'"),
        ({"classifier": "map"}, "no place for a head over attention pooling"),
        ({"layer_scale_init": 0.1, "num_classes": None}, "no place for mlp_dim 48"),
    ],
)
def test_what_transformers_would_not_read_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        vit_keras.save_weights(tiny_vit(**options), tmp_path / "model.safetensors", "hugging_face")


def test_preprocessor_and_labels_are_read_and_written(tmp_path):
    names = ["cat", "dog", "eel", "fox", "gnu"]
    expected = vit_keras.Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 0.875, "bicubic")
    model = tiny_vit(image_size=224, preprocessing=expected, class_names=names)
    vit_keras.save_weights(model, tmp_path / "model.safetensors", "hugging_face")
    from safetensors.numpy import load_file, save_file

    # Without the file's own metadata, as from Hugging Face.
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    again = vit_keras.from_pretrained(tmp_path / "model.safetensors")
    assert again.preprocessing == expected and again.class_names == tuple(names)
    processor = transformers.BitImageProcessor.from_pretrained(tmp_path)
    assert list(processor.image_mean) == [0.4, 0.5, 0.6]


def test_models_of_another_kind_are_refused(tmp_path):
    model = tiny_vit(image_size=32)
    vit_keras.save_weights(model, tmp_path / "model.safetensors", "hugging_face")
    from safetensors.numpy import load_file, save_file

    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"model_type": "swin"}, "model_type 'swin' is not of this package"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not of this package"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            vit_keras.from_pretrained(tmp_path / "model.safetensors")


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_bit(size, tmp_path):
    theirs = transformers.BitForImageClassification(transformers.BitConfig(num_labels=10))
    theirs = randomized(theirs)
    theirs.save_pretrained(tmp_path)
    model = vit_keras.from_pretrained(
        tmp_path / "model.safetensors", image_size=size, preprocessing={}
    )
    images = some_images(2, size)
    scale = np.abs(outputs(theirs, "logits", images)).max()
    compare(model, theirs, tolerance=TOLERANCE * max(1, scale))


def test_bit_with_other_padding_is_refused(tmp_path):
    theirs = transformers.BitForImageClassification(
        transformers.BitConfig(depths=[1, 1], hidden_sizes=[256, 512], global_padding="same")
    )
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="global_padding 'SAME' is not of this package"):
        vit_keras.from_pretrained(tmp_path / "model.safetensors")


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


@pytest.mark.parametrize(
    ("old", "new"), [((7, 7), (12, 12)), ((24, 24), (14, 14)), ((3, 5), (6, 2))]
)
@pytest.mark.parametrize(
    ("method", "mode", "antialias"),
    [
        ("bilinear_centers", "bilinear", False),
        ("bicubic", "bicubic", False),
        ("bicubic_antialias", "bicubic", True),
    ],
)
def test_resampling_is_pytorchs(old, new, method, mode, antialias):
    grid = np.random.default_rng(0).normal(size=(*old, 4)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(grid.transpose(2, 0, 1))[None],
        new,
        mode=mode,
        antialias=antialias,
        align_corners=False,
    )[0].numpy()
    got = vit_keras.resample_grid(grid, new, method).transpose(2, 0, 1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["Ti/16", "B/16"])
def test_named_sizes(variant, tmp_path):
    model = vit_keras.create_model(variant, num_classes=10, activation="gelu", norm_epsilon=1e-12)
    randomize(model)
    vit_keras.save_weights(model, tmp_path / "model.safetensors", "hugging_face")
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    scale = np.abs(outputs(theirs, "logits", some_images(2, (224, 224)))).max()
    compare(model, theirs, tolerance=TOLERANCE * max(1, scale))
