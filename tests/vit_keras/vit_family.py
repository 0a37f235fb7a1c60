"""What the tests of `vit_keras` share: models small enough to run, weights that are not zero."""

from __future__ import annotations

import keras
import numpy as np

import vit_keras

TINY_SIZES = {"num_layers": 2, "width": 32, "mlp_dim": 48, "num_heads": 4}


def randomize(model, seed: int = 0):
    """Gives every weight noise: a fresh model's head is zero, and its answer with it."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        scale = 0.2 if len(weight.shape) == 1 else 0.5 / np.sqrt(np.prod(weight.shape[:-1]))
        value = weight.numpy()
        weight.assign(value + rng.normal(0, scale, value.shape).astype(value.dtype))
    return model


def tiny_vit(image_size=(32, 48), num_classes=5, variant="Ti/16", **options):
    keras.utils.set_random_seed(0)  # the same weights whatever ran before
    options = {**TINY_SIZES, **options}
    model = vit_keras.create_model(
        variant, image_size=image_size, num_classes=num_classes, **options
    )
    return randomize(model)


def tiny_bit(image_size=(32, 48), num_classes=5, **options):
    keras.utils.set_random_seed(0)
    options = {"units": (1, 1), "width_factor": 1, **options}
    return randomize(vit_keras.BiTResNet(image_size=image_size, num_classes=num_classes, **options))


# One small model per architecture and per choice that changes the forward pass.
FAMILY = {
    "plain": tiny_vit,
    "gap": lambda **k: tiny_vit(classifier="gap", **k),
    "map": lambda **k: tiny_vit(classifier="map", **k),
    "pre_logits": lambda **k: tiny_vit(representation_size=24, **k),
    "unpositioned_class_token": lambda **k: tiny_vit(class_token_positioned=False, **k),
    "learned_2d": lambda **k: tiny_vit(position_embedding="learned_2d", **k),
    "sincos_2d": lambda **k: tiny_vit(position_embedding="sincos_2d", classifier="gap", **k),
    "no_positions": lambda **k: tiny_vit(position_embedding="none", **k),
    "relative": lambda **k: tiny_vit(position_embedding="relative", **k),
    "relative_shared": lambda **k: tiny_vit(
        position_embedding="relative", position_place="shared", **k
    ),
    "relative_stem": lambda **k: tiny_vit(
        position_embedding="relative", position_place="stem", **k
    ),
    "every_layer": lambda **k: tiny_vit(position_place="every_layer", **k),
    "shared": lambda **k: tiny_vit(position_place="shared", **k),
    "registers": lambda **k: tiny_vit(num_registers=3, **k),
    "qk_norm": lambda **k: tiny_vit(qk_norm=True, **k),
    "layer_scale": lambda **k: tiny_vit(layer_scale_init=0.1, **k),
    "clip": lambda **k: tiny_vit(pre_norm=True, patch_bias=False, activation="quick_gelu", **k),
    "dinov2": lambda **k: tiny_vit(
        num_registers=2, layer_scale_init=0.1, gated_mlp=True, activation="silu", **k
    ),
    "dinov3": lambda **k: tiny_vit(
        rope="normalized",
        position_embedding="none",
        num_registers=2,
        layer_scale_init=0.1,
        activation="gelu",
        norm_epsilon=1e-5,
        **k,
    ),
    "eva02": lambda **k: tiny_vit(
        rope="grid",
        rope_grid=4,
        rope_temperature=10_000.0,
        classifier="gap",
        class_token=True,
        final_norm="features",
        gated_mlp=True,
        activation="silu",
        attention_inner_norm=True,
        mlp_inner_norm=True,
        **k,
    ),
    "aimv2": lambda **k: tiny_vit(
        norm="rms_norm",
        norm_epsilon=1e-5,
        gated_mlp=True,
        activation="silu",
        qkv_bias=False,
        use_bias=False,
        patch_norm=True,
        classifier="gap",
        **k,
    ),
    "distilled": lambda **k: tiny_vit(classifier="distilled", activation="gelu", **k),
    "dinov2_classifier": lambda **k: tiny_vit(
        classifier="token_gap", layer_scale_init=0.1, activation="gelu", mlp_dim=64, **k
    ),
    "post_norm": lambda **k: tiny_vit(
        residual_post_norm=True, classifier="gap", class_token_positioned=False, **k
    ),
    "no_final_norm": lambda **k: tiny_vit(final_norm="none", activation="gelu", **k),
    "pooled_prefix": lambda **k: tiny_vit(
        classifier="map", num_registers=1, pool_prefix=True, activation="gelu", **k
    ),
    "noise": lambda **k: tiny_vit(dropout_rate=0.2, stochastic_depth_rate=0.3, **k),
    "remat": lambda **k: tiny_vit(remat=True, dropout_rate=0.2, **k),
    "axial": lambda **k: tiny_vit(axial=True, classifier="gap", **k),
    "hybrid": lambda **k: tiny_vit(stem_units=(1, 1), patch_size=1, **k),
    "narrow_hybrid": lambda **k: tiny_vit(
        stem_units=(1,), stem_width_factor=0.5, patch_size=4, **k
    ),
    "bit": tiny_bit,
    "narrow_bit": lambda **k: tiny_bit(width_factor=0.5, **k),
    "axial_resnet": lambda **k: tiny_bit(**{"mixers": ("axial", "axial"), **k}),
    "bottleneck_attention": lambda **k: tiny_bit(**{"mixers": ("conv", "attention"), **k}),
}


def some_images(count=3, size=(32, 48)):
    """`[count, height, width, 3]` float32 in [-1, 1]."""
    return np.random.default_rng(7).uniform(-1, 1, (count, *size, 3)).astype(np.float32)
