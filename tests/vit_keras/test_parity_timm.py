"""Logits equal those of timm's own models, with random weights, in float32: one of each kind.

Each is one of timm's architectures made small, saved with the config.json that timm puts on the
Hub, and read by the library's own defaults: nothing is passed to `from_pretrained`.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras import ops
from vit_family import FAMILY, some_images

import vit_keras

torch = pytest.importorskip("torch", reason="torch is not installed")
timm = pytest.importorskip(
    "timm", reason="timm (or the torchvision that it needs) is not installed"
)
save_file = pytest.importorskip(
    "safetensors.torch", reason="safetensors is not installed"
).save_file

SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 4}
SIZE = 64

# Architecture, and what makes it small without making it another kind.
KINDS = {
    "vit_base_patch16_224": {},
    "vit_base_patch16_224_miil": {},
    "vit_medium_patch16_gap_256": {},
    "vit_base_patch16_clip_224": {},
    "vit_base_patch32_clip_quickgelu_224": {"img_size": 96},
    "vit_base_patch16_rpn_224": {},
    "vit_small_patch16_36x1_224": {},
    "eva_large_patch14_196": {"img_size": 56},
    "flexivit_small": {},
    "vit_small_patch14_dinov2": {"img_size": 56},
    "vit_giant_patch14_dinov2": {"img_size": 56, "mlp_ratio": 5.5},
    "vit_small_patch14_reg4_dinov2": {"img_size": 56},
    "vit_base_patch16_siglip_224": {},
    "vit_so400m_patch16_siglip_256": {},
    "vit_large_patch16_siglip_gap_512": {},
    "vit_medium_patch16_reg4_gap_256": {},
    "vit_so150m_patch16_reg4_map_256": {},
    "vit_so150m2_patch16_reg1_gap_256": {},
    "vit_intern300m_patch14_448": {"img_size": 56, "dynamic_img_size": False},
    "aimv2_large_patch14_224": {"img_size": 56},
    "test_vit3": {},
    "test_vit4": {"dynamic_img_size": False},
    "beit3_base_patch16_224": {},
    "deit_small_patch16_224": {},
    "deit_small_distilled_patch16_224": {},
    "deit3_small_patch16_224": {},
    "vit_tiny_r_s16_p8_224": {},
    "vit_small_r26_s32_224": {},
    "eva_giant_patch14_224": {"img_size": 56},
    "eva02_tiny_patch14_224": {"img_size": 56},
    "eva02_base_patch14_224": {"img_size": 56},
    "eva02_base_patch16_clip_224": {},
    "vit_medium_patch16_rope_reg1_gap_256": {},
    "vit_small_patch16_dinov3": {"dynamic_img_size": False},
    "vit_small_plus_patch16_dinov3_qkvb": {"dynamic_img_size": False},
    "resnetv2_50x1_bit": None,
}
REFUSED = {
    "vit_dwee_patch16_reg1_gap_256": "differential attention",
    "vit_pwee_patch16_reg1_gap_256": "attention beside the MLP",
    "vit_small_patch16_18x2_224": "several attentions",
    "vit_pe_core_tiny_patch16_384": "rotary embedding",
    "vit_small_resnet26d_224": "another stem",
}


def randomize(model, seed=0):
    """Noise on every weight, for logits of order 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            base = 1.0 if weight.ndim == 1 and ("norm" in name or "ls" in name) else 0.0
            if weight.ndim > 1 and ("embed" in name or "token" in name or "latent" in name):
                scale = 0.5
            else:
                scale = 0.2 if weight.ndim == 1 else 0.7 * weight[0].numel() ** -0.5
            weight.copy_(base + scale * torch.randn(weight.shape, generator=generator))
    return model.eval()


def their_model(name):
    if KINDS.get(name, {}) is None:
        return randomize(timm.create_model(name, num_classes=7)), {}
    options = {"img_size": SIZE, **SMALL, **KINDS.get(name, {})}
    return randomize(timm.create_model(name, num_classes=7, **options)), options


def saved(name, folder):
    theirs, options = their_model(name)
    save_file(theirs.state_dict(), folder / "model.safetensors")
    size = options.get("img_size", SIZE)
    config = {
        "architecture": name,
        "num_classes": 7,
        "global_pool": getattr(theirs, "global_pool", "avg"),
        "model_args": options,
        "pretrained_cfg": {
            **theirs.pretrained_cfg,
            "input_size": [3, size, size],
        },
    }
    config["global_pool"] = config["global_pool"] if options else "avg"
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return theirs, size


def their_logits(theirs, images):
    with torch.no_grad():
        return theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()


def compare(ours, theirs, size):
    images = some_images(2, (size, size))
    expected, got = their_logits(theirs, images), ops.convert_to_numpy(ours(images))
    scale = np.abs(expected).max()
    assert scale > 0.1 and np.ptp(expected, axis=0).max() > 1e-3
    assert np.abs(got - expected).max() < 1e-4 * max(1.0, scale)


@pytest.mark.parametrize("name", KINDS)
def test_their_file_gives_their_logits(name, tmp_path):
    theirs, size = saved(name, tmp_path)
    ours = vit_keras.from_pretrained(tmp_path / "model.safetensors")
    compare(ours, theirs, size)
    mean = tuple(theirs.pretrained_cfg["mean"])
    assert ours.preprocessing.mean == pytest.approx(mean)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_another_function_is_refused(name, tmp_path):
    saved(name, tmp_path) if "resnet26d" not in name else saved_hybrid(name, tmp_path)
    with pytest.raises(ValueError, match=REFUSED[name]):
        vit_keras.from_pretrained(tmp_path / "model.safetensors")


def saved_hybrid(name, folder):
    theirs = timm.create_model(name, num_classes=7, embed_dim=64, depth=1, num_heads=4)
    save_file(theirs.state_dict(), folder / "model.safetensors")


WRITTEN = (
    *("plain", "gap", "unpositioned_class_token", "registers", "map", "clip"),
    *("dinov2", "dinov3", "eva02", "aimv2", "distilled", "post_norm"),
    *("no_final_norm", "pooled_prefix", "qk_norm", "layer_scale"),
)


@pytest.mark.parametrize("name", WRITTEN)
def test_timm_reads_what_is_written_for_it(name, tmp_path):
    """By the architecture and arguments in the config.json, strictly."""
    model = FAMILY[name](image_size=64, **({"norm_epsilon": 1e-5} if name == "clip" else {}))
    path = tmp_path / "model.safetensors"
    if name in ("dinov3", "eva02"):  # timm has no bias of the key there
        for block in model.blocks:
            bias = block.attention.qkv.bias.numpy().copy()
            bias[32:64] = 0
            block.attention.qkv.bias.assign(bias)
    vit_keras.save_weights(model, path, "timm")
    config = json.loads((tmp_path / "config.json").read_text())
    theirs = timm.create_model(
        config["architecture"],
        num_classes=config["num_classes"],
        global_pool=config["global_pool"],
        **config["model_args"],
    )
    from safetensors.torch import load_file

    theirs.load_state_dict(load_file(path), strict=True)
    compare(model, theirs.eval(), 64)
    again = vit_keras.from_pretrained(path)
    images = some_images(2, (64, 64))
    np.testing.assert_allclose(
        ops.convert_to_numpy(again(images)), ops.convert_to_numpy(model(images)), atol=1e-5
    )


def test_positions_are_resampled_as_timm_does(tmp_path):
    theirs, _ = saved("vit_base_patch16_224", tmp_path)
    ours = vit_keras.from_pretrained(tmp_path / "model.safetensors", image_size=96)
    larger = timm.create_model("vit_base_patch16_224", num_classes=7, **{**SMALL, "img_size": 96})
    state = timm.models.vision_transformer.checkpoint_filter_fn(theirs.state_dict(), larger)
    larger.load_state_dict(state)
    compare(ours, larger.eval(), 96)


def test_patches_are_resampled_as_timm_does(tmp_path):
    theirs, _ = saved("flexivit_small", tmp_path)
    ours = vit_keras.from_pretrained(tmp_path / "model.safetensors", image_size=64, patch_size=32)
    other = timm.create_model(
        "flexivit_small", num_classes=7, patch_size=32, **{**SMALL, "img_size": 64}
    )
    state = timm.models.vision_transformer.checkpoint_filter_fn(
        theirs.state_dict(), other, interpolation="bilinear", antialias=False
    )
    other.load_state_dict(state)
    compare(ours, other.eval(), 64)
