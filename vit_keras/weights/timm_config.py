"""The config.json beside timm's weights: what the arrays do not tell, there and back.

timm leaves most of it to the architecture's name; the table holds what its functions of these names
set, and `benchmarks/timm_tags.py` holds the table against them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer

_SIZE = re.compile(
    r"(?:vit|deit3?|flexivit|eva(?:02)?|beit3|aimv2)_(?P<size>[a-z0-9]+?(?:_plus)?)"
    r"(?:_distilled)?(?:_(?:patch|r\d*_s)|$)"
)
_HEADS = {
    "tiny": 3,
    "xsmall": 4,
    "wee": 4,
    "little": 5,
    "small": 6,
    "small_plus": 6,
    "medium": 8,
    "mediumd": 8,
    "betwixt": 10,
    "base": 12,
    "so150m2": 13,
    "so150m": 14,
    "large": 16,
    "huge": 16,
    "giant": 16,
    "gigantic": 16,
    "giantopt": 16,
    "so400m": 16,
    "intern300m": 16,
    "enormous": 16,
    "huge_plus": 20,
    "7b": 32,
}

# What differs from a size's heads, gelu and an epsilon of 1e-6; the last that fits wins.
_EXCEPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"^vit_base_patch16_gap_224", {"num_heads": 16}),
    (r"^vit_base_patch\d+_plus_", {"num_heads": 14}),
    (r"^vit_giant_patch1[46]_(reg\d_)?(dinov2|tipsv2|radio)", {"num_heads": 24}),
    (r"^vit_.*_clip_", {"norm_epsilon": 1e-5}),
    (r"_clip_quickgelu_", {"activation": "quick_gelu"}),
    (r"^vit_base_patch32_siglip_", {"activation": "gelu_tanh"}),
    (r"^vit_large_patch16_siglip_(gap_)?512", {"activation": "gelu_tanh"}),
    (r"^vit_(so400m|giantopt)_patch16_siglip_", {"activation": "gelu_tanh"}),
    (r"^vit_base_patch16_rpn_", {"residual_post_norm": True}),
    (r"^beit3_", {"norm_epsilon": 1e-5}),
    (r"^aimv2_", {"norm_epsilon": 1e-5, "activation": "silu"}),
    (r"^aimv2_large_", {"num_heads": 8}),
    (r"^aimv2_huge_", {"num_heads": 12}),
    (r"^aimv2_1b_", {"num_heads": 16}),
    (r"^aimv2_3b_", {"num_heads": 24}),
    (r"^test_vit2?$", {"num_heads": 2}),
    (r"^test_vit[34]$", {"num_heads": 3}),
    (r"^test_vit3$", {"pool_prefix": True}),
    (r"^(eva_|eva02_|vit_.*_dinov3|vit_.*_rope_)", {"global_pool": "avg"}),
    (r"^eva(02)?_.*_clip_", {"global_pool": "token"}),
    (
        r"^(eva02_|vit_.*_rope_reg)",
        {"rope": "grid", "rope_temperature": 10_000.0, "rope_grid": 16},
    ),
    (r"^eva02_enormous_", {"rope": None, "residual_post_norm": True}),
    (
        r"^vit_.*_dinov3",
        {"rope": "normalized", "rope_temperature": 100.0, "norm_epsilon": 1e-5},
    ),
)
_UNKNOWN_ROPE = re.compile(r"^vit_pe_|_rope_(mixed|ape|\d)")

_POOLS: dict[str, dict[str, Any]] = {
    "token": {"classifier": "token"},
    "avg": {"classifier": "gap"},
    "map": {"classifier": "map"},
}
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
_ACTIVATIONS |= {"silu": "silu", "swish": "silu"}

_RENAMED = {
    "num_heads": "num_heads",
    "pool_include_prefix": "pool_prefix",
    "rope_temperature": "rope_temperature",
}

# Of `model_args`, what the arrays tell, and what matters in training alone.
_TOLD_BY_ARRAYS = {
    *("img_size", "patch_size", "embed_dim", "depth", "mlp_ratio", "qkv_bias", "qk_norm"),
    *("proj_bias", "init_values", "class_token", "no_embed_class", "reg_tokens", "pre_norm"),
    *("final_norm", "fc_norm", "scale_attn_norm", "scale_mlp_norm", "num_classes", "in_chans"),
    *("num_reg_tokens", "swiglu_mlp", "swiglu_align_to", "scale_mlp", "scale_attn_inner"),
    *("qkv_fused", "use_abs_pos_emb", "use_fc_norm", "dynamic_img_size", "weight_init"),
    *("drop_rate", "drop_path_rate", "pos_drop_rate", "attn_drop_rate", "proj_drop_rate"),
    *("norm_layer", "use_post_transformer_norm", "use_pre_transformer_norm", "attn_layer"),
}


def read_timm_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's config.json tells of a model.

    Returns:
        Arguments of the model; `preprocessing` and `class_names` where they are told.

    Raises:
        ValueError: something that no model of this package has.
    """
    name = str(config["architecture"]).split(".", maxsplit=1)[0]
    pretrained = {**config, **config.get("pretrained_cfg", {})}
    told: dict[str, Any] = {}
    if name.startswith("resnetv2_"):
        if "_bit" not in name:
            raise ValueError(f"timm's {name} is no BiT ResNet.")
        told["conv_epsilon"] = 1e-8
    else:
        told |= _vit_config(name, config)
    _, height, width = pretrained.get("input_size", (3, None, None))
    if height is not None:
        told["image_size"] = (height, width)
    if "mean" in pretrained:
        told["preprocessing"] = {
            "mean": pretrained["mean"],
            "deviation": pretrained["std"],
            "crop": pretrained.get("crop_pct"),
            "interpolation": pretrained.get("interpolation"),
        }
    if pretrained.get("label_names"):
        told["class_names"] = tuple(pretrained["label_names"])
    return told


def _vit_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    if _UNKNOWN_ROPE.search(name):
        raise ValueError(f"the rotary embedding of timm's {name} is not of this package.")
    told: dict[str, Any] = {}
    size = _SIZE.match(name)
    if size is not None and size["size"] in _HEADS:
        told = {"num_heads": _HEADS[size["size"]]}
    for pattern, values in _EXCEPTIONS:
        if re.search(pattern, name):
            told |= values
    if "num_heads" in told:  # an architecture of the table
        told = {"activation": "gelu", "norm_epsilon": 1e-6, **told}
    arguments = dict(config.get("model_args", {}))
    pools = [config.get("global_pool"), arguments.pop("global_pool", None)]
    pools.append(told.pop("global_pool", None))
    pool = next((pool for pool in pools if pool is not None), None)
    if pool not in (*_POOLS, None):
        raise ValueError(f"global_pool {pool!r} is not of this package.")
    return {**told, **_POOLS.get(pool or "", {}), **_of_arguments(arguments)}


def _of_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `model_args` say that the arrays do not."""
    told: dict[str, Any] = {}
    for argument, value in arguments.items():
        if argument in _RENAMED:
            told[_RENAMED[argument]] = value
        elif argument == "act_layer" and value in _ACTIVATIONS:
            told["activation"] = _ACTIVATIONS[value]
        elif argument == "ref_feat_shape" and (value is None or value[0] == value[1]):
            told["rope_grid"] = None if value is None else value[0]
        elif argument not in _TOLD_BY_ARRAYS:
            raise ValueError(f"model_args {argument}={value!r} is not of this package.")
    return told


def write_timm_config(model: VisionTransformer | BiTResNet) -> dict[str, Any]:
    """timm's config.json for a model, without "architecture" where timm has none for it."""
    height, width = model.image_size
    expected = model.preprocessing
    classes = model.num_classes or 0
    pretrained: dict[str, Any] = {
        "input_size": [3, height, width],
        "mean": list(expected.mean),
        "std": list(expected.deviation),
        "crop_pct": expected.crop,
        "interpolation": expected.interpolation,
        "num_classes": classes,
    }
    config: dict[str, Any] = {"num_classes": classes, "num_features": model.feature_dim}
    if isinstance(model, VisionTransformer):
        pools = {"gap": "avg", "map": "map"}
        config["global_pool"] = pools.get(model.classifier, "token")
        name, arguments = _architecture(model)
        if name is not None:
            config |= {"architecture": name, "model_args": arguments}
        heads: Any = ["head", "head_dist"] if model.classifier == "distilled" else "head"
        pretrained |= {"first_conv": "patch_embed.proj", "classifier": heads}
    else:
        depths: dict[tuple[int, ...], int] = {
            (3, 4, 6, 3): 50,
            (3, 4, 23, 3): 101,
            (3, 8, 36, 3): 152,
        }
        depth = depths.get(model.units)
        if depth is not None and model.width_factor in (1, 2, 3, 4):
            config["architecture"] = f"resnetv2_{depth}x{model.width_factor:g}_bit"
        pretrained |= {"first_conv": "stem.conv", "classifier": "head.fc"}
    if model.class_names is not None:
        pretrained["label_names"] = list(model.class_names)
    return {**config, "pretrained_cfg": pretrained}


_PLAIN: dict[str, Any] = {
    "norm": "layer_norm",
    "norm_epsilon": 1e-6,
    "gated_mlp": False,
    "patch_norm": False,
    "residual_post_norm": False,
    "stem_units": None,
    "rope": None,
}
_SWIGLU = {**_PLAIN, "gated_mlp": True, "activation": "silu", "pre_norm": False}
_STEM = {**_PLAIN, "stem_width_factor": 1, "stem_numerics": "pytorch"}
_EVA = {
    **{key: _PLAIN[key] for key in _PLAIN if key != "gated_mlp"},
    "qk_norm": False,
    "use_bias": True,
    "pool_prefix": False,
}

# Functions of timm, and the options with which a model is one that they make; the first that fits.
_MAKERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("deit_base_distilled_patch16_224", {**_PLAIN, "classifier": "distilled"}),
    ("vit_tiny_r_s16_p8_224", {**_STEM, "stem_units": ()}),
    ("vit_small_r26_s32_224", {**_STEM, "stem_units": (2, 2, 2, 2)}),
    ("vit_base_r50_s16_224", {**_STEM, "stem_units": (3, 4, 9)}),
    ("vit_large_r50_s32_224", {**_STEM, "stem_units": (3, 4, 6, 3)}),
    ("vit_base_patch16_rpn_224", {**_PLAIN, "residual_post_norm": True}),
    ("vit_base_patch16_224", _PLAIN),
    ("vit_base_patch16_224", {**_PLAIN, "norm": "rms_norm"}),
    ("vit_base_patch16_clip_224", {**_PLAIN, "norm_epsilon": 1e-5}),
    ("vit_giant_patch14_dinov2", _SWIGLU),
    (
        "aimv2_large_patch14_224",
        {**_SWIGLU, "norm": "rms_norm", "norm_epsilon": 1e-5, "patch_norm": True},
    ),
    ("vit_small_patch16_dinov3_qkvb", {**_EVA, "rope": "normalized", "norm_epsilon": 1e-5}),
    ("eva02_tiny_patch14_224", {**_EVA, "rope": "grid"}),
)


def _architecture(model: VisionTransformer) -> tuple[str | None, dict[str, Any]]:
    """A function of timm that makes such a model, and its arguments; None: there is none."""
    absolute = model.position_embedding == "learned_1d"
    if (
        model.classifier == "token_gap"
        or model.pre_logits is not None
        or model.patch_bias == model.pre_norm  # timm ties the two together
        or not (absolute or (model.rope is not None and model.position_embedding == "none"))
        or (model.rope is not None and model.classifier not in ("token", "gap"))
        or (model.rope is not None and model.activation != ("silu" if model.gated_mlp else "gelu"))
    ):
        return None, {}
    for name, options in _MAKERS:
        fits = all(getattr(model, option) == value for option, value in options.items())
        if fits and (model.classifier != "distilled" or "distilled" in name):
            return name, _arguments(model)
    return None, {}


def _arguments(model: VisionTransformer) -> dict[str, Any]:
    """The arguments of timm's function."""
    # timm's packed gates count twice, and it rounds down what it multiplies.
    gates = 2 if model.gated_mlp and model.rope is None and model.norm == "layer_norm" else 1
    positioned = model.class_token_positioned and model.has_class_token
    arguments: dict[str, Any] = {
        "img_size": list(model.image_size),
        "patch_size": model.patch_size,
        "embed_dim": model.width,
        "depth": model.num_layers,
        "num_heads": model.num_heads,
        "mlp_ratio": (gates * model.mlp_dim + 0.5) / model.width,
        "qkv_bias": model.qkv_bias,
        "init_values": model.layer_scale_init,
    }
    if model.classifier != "distilled":
        arguments["class_token"] = model.has_class_token
        arguments["no_embed_class"] = not positioned or model.num_registers > 0
    if model.rope is not None:
        side = model.rope_grid
        reference = {} if model.rope == "normalized" else {"ref_feat_shape": side and [side, side]}
        return {
            **arguments,
            **reference,
            "num_reg_tokens": model.num_registers,
            "swiglu_mlp": model.gated_mlp,
            "scale_mlp": model.mlp_inner_norm,
            "scale_attn_inner": model.attention_inner_norm,
            "use_abs_pos_emb": model.position_embedding != "none",
            "use_fc_norm": model.final_norm == "features",
            "use_post_transformer_norm": model.final_norm == "tokens",
            "use_pre_transformer_norm": model.pre_norm,
            "rope_temperature": model.rope_temperature,
        }
    if not model.gated_mlp:
        arguments["act_layer"] = model.activation
        if model.norm == "rms_norm":
            arguments["norm_layer"] = "rmsnorm"
    return {
        **arguments,
        "qk_norm": model.qk_norm,
        "reg_tokens": model.num_registers,
        "pre_norm": model.pre_norm,
        "fc_norm": model.final_norm == "features",
        "final_norm": model.final_norm != "none",
        "scale_attn_norm": model.attention_inner_norm,
        "scale_mlp_norm": model.mlp_inner_norm,
        "proj_bias": model.use_bias,
        "pool_include_prefix": model.pool_prefix,
    }
