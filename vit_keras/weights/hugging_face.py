"""Layouts of Hugging Face's state dicts: one table of names for each of its image models."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Arrays, Rule, convolution, dense, norm
from vit_keras.weights.timm import preactivation_rules
from vit_keras.weights.torch_layout import (
    Names,
    drop_zeros,
    pad_positions,
    torch_config,
    torch_rules,
)

_VIT = Names(
    patches="embeddings.patch_embeddings.projection",
    class_token="embeddings.cls_token",
    positions="embeddings.position_embeddings",
    block="encoder.layer.{}",
    attention_norm="layernorm_before",
    qkv=tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
    out="attention.output.dense",
    mlp_norm="layernorm_after",
    hidden=("intermediate.dense",),
    mlp_out="output.dense",
    norm="layernorm",
    head="classifier",
    pre_logits="pooler.dense",
)
_DINOV2 = replace(
    _VIT,
    registers="embeddings.register_tokens",
    attention_norm="norm1",
    attention_scale="layer_scale1.lambda1",
    mlp_norm="norm2",
    hidden=("mlp.fc1",),
    mlp_out="mlp.fc2",
    mlp_scale="layer_scale2.lambda1",
    pre_logits=None,
)
_DINOV3 = replace(
    _DINOV2,
    patches="embeddings.patch_embeddings",
    block="layer.{}",
    qkv=tuple(f"attention.{part}_proj" for part in "qkv"),
    out="attention.o_proj",
    hidden=("mlp.up_proj",),
    mlp_out="mlp.down_proj",
    norm="norm",
)
_CLIP = Names(
    patches="embeddings.patch_embedding",
    class_token="embeddings.class_embedding",
    positions="embeddings.position_embedding.weight",
    pre_norm="pre_layrnorm",
    block="encoder.layers.{}",
    attention_norm="layer_norm1",
    qkv=tuple(f"self_attn.{part}_proj" for part in "qkv"),
    out="self_attn.out_proj",
    mlp_norm="layer_norm2",
    hidden=("mlp.fc1",),
    mlp_out="mlp.fc2",
    norm="post_layernorm",
    head="visual_projection",
)
_SIGLIP = replace(
    _CLIP,
    pre_norm=None,
    head="classifier",
    probe="head.probe",
    pool_query="head.attention.q",
    pool_key_value=("head.attention.kv",),
    pool_out="head.attention.out_proj",
    pool_norm="head.layernorm",
    pool_hidden="head.mlp.fc1",
    pool_mlp_out="head.mlp.fc2",
)


@dataclass(frozen=True)
class Family:
    """One of Hugging Face's image models.

    Attributes:
        names: of its arrays, without the prefix that they have beside a head.
        prefix: that prefix.
        positioned: tokens before the patches that have a position.
        heads: attention heads that its config class sets; likewise the activation and epsilon.
    """

    names: Names
    prefix: str
    positioned: int
    heads: int
    activation: str = "gelu"
    epsilon: float = 1e-12


FAMILIES = {
    "vit": Family(_VIT, "vit.", 1, 12),
    "deit": Family(
        replace(
            _VIT,
            distillation_token="embeddings.distillation_token",
            head="cls_classifier",
            distillation_head="distillation_classifier",
        ),
        "deit.",
        2,
        12,
    ),
    "ijepa": Family(_VIT, "ijepa.", 0, 12),
    "dinov2": Family(_DINOV2, "dinov2.", 1, 12, epsilon=1e-6),
    "dinov2_with_registers": Family(_DINOV2, "dinov2_with_registers.", 1, 12, epsilon=1e-6),
    "dinov3_vit": Family(_DINOV3, "model.", 0, 6, epsilon=1e-5),
    "clip_vision_model": Family(_CLIP, "vision_model.", 1, 12, "quick_gelu", 1e-5),
    "siglip_vision_model": Family(_SIGLIP, "vision_model.", 0, 12, "gelu_tanh", 1e-6),
}

_PREFIXES = (
    *("vit.", "deit.", "ijepa.", "dinov2.", "dinov2_with_registers.", "dinov3_vit.", "model."),
    "vision_model.",
)

# transformers 5 names some parts otherwise in memory; files have the old names.
_NEW_NAMES = (
    (re.compile(r"^layers\.(\d+)\."), r"encoder.layer.\1."),
    (re.compile(r"^(encoder\.layer.*\.attention)\.q_proj\."), r"\1.attention.query."),
    (re.compile(r"^(encoder\.layer.*\.attention)\.k_proj\."), r"\1.attention.key."),
    (re.compile(r"^(encoder\.layer.*\.attention)\.v_proj\."), r"\1.attention.value."),
    (re.compile(r"^(encoder\.layer.*\.attention)\.o_proj\."), r"\1.output.dense."),
)
_NEW_VIT_NAMES = (
    (re.compile(r"^(encoder\.layer\.\d+)\.mlp\.fc1\."), r"\1.intermediate.dense."),
    (re.compile(r"^(encoder\.layer\.\d+)\.mlp\.fc2\."), r"\1.output.dense."),
)

# What a file holds beside the image model: the other half of a pair, a decoder, what only
# pre-training needs.
_BESIDE = re.compile(
    r"^(text_model|text_projection|decoder|logit_scale|logit_bias|lm_head)\b"
    r"|^embeddings\.mask_token$|\.?position_ids$"
)


def is_hugging_face(arrays: Arrays) -> bool:
    """Whether the arrays have Hugging Face's names."""
    return "bit.embedder.convolution.weight" in arrays or family_of(_stripped(arrays)) is not None


def _stripped(arrays: Arrays) -> Arrays:
    """The arrays without the prefix that they have beside a head."""
    for prefix in _PREFIXES:
        if any(key.startswith(f"{prefix}embeddings.") for key in arrays):
            return {key.removeprefix(prefix): array for key, array in arrays.items()}
    return arrays


def family_of(arrays: Arrays) -> str | None:
    """The family that arrays (without prefix) belong to; None: none of these."""
    if "embeddings.patch_embeddings.weight" in arrays:
        return "dinov3_vit"
    if "embeddings.patch_embedding.weight" in arrays:
        clip = "embeddings.class_embedding" in arrays
        return "clip_vision_model" if clip else "siglip_vision_model"
    if "embeddings.patch_embeddings.projection.weight" not in arrays:
        return None
    if any(".layer_scale1.lambda1" in key for key in arrays):
        registers = "embeddings.register_tokens" in arrays
        return "dinov2_with_registers" if registers else "dinov2"
    if "embeddings.distillation_token" in arrays:
        return "deit"
    return "vit" if "embeddings.cls_token" in arrays else "ijepa"


def normalize_hugging_face(arrays: Arrays, source: object) -> Arrays:
    """Bring the variations of files to one form, without prefix, and leave aside what is no ViT.

    Warns of what is left aside.
    """
    if "bit.embedder.convolution.weight" in arrays:
        return arrays
    arrays = _stripped(arrays)
    family = family_of(arrays)
    arrays = _renamed(_of_image_model(arrays, family, source), family)
    if "visual_projection.weight" in arrays:
        arrays["visual_projection.bias"] = np.zeros(
            len(arrays["visual_projection.weight"]), np.float32
        )
    for key in ("embeddings.class_embedding", "embeddings.position_embedding.weight"):
        if key in arrays:
            arrays[key] = arrays[key].reshape(1, -1, arrays[key].shape[-1])
    for part in ("weight", "bias"):
        if (whole := arrays.pop(f"head.attention.in_proj_{part}", None)) is not None:
            query, key_value = np.split(whole, [len(whole) // 3])
            arrays[f"head.attention.q.{part}"] = query
            arrays[f"head.attention.kv.{part}"] = key_value
    if family == "dinov3_vit":
        _fill_biases(arrays)
    return arrays


def _of_image_model(arrays: Arrays, family: str | None, source: object) -> Arrays:
    """Without what is no part of the image model, which a warning names."""
    beside = {key for key in arrays if _BESIDE.search(key)}
    told = {key.split(".", maxsplit=1)[0] for key in beside} - {"embeddings"}
    if told:
        warnings.warn(
            f"{source}: left aside what is no part of the image model: {', '.join(sorted(told))}.",
            stacklevel=6,
        )
    # What their classes for classification have, and read nothing of: they take the mean over the
    # tokens, SigLIP's without its pooling, CLIP's without its last norm.
    unread = {"siglip_vision_model": "head.", "clip_vision_model": "post_layernorm."}
    if family in unread and "classifier.weight" in arrays:
        beside |= {key for key in arrays if key.startswith(unread[family])}
    # DINOv3 without registers has an empty array.
    return {key: a for key, a in arrays.items() if key not in beside and a.size}


def _renamed(arrays: Arrays, family: str | None) -> Arrays:
    """Under the names that files have."""
    patterns = _NEW_NAMES + (_NEW_VIT_NAMES if family in ("vit", "deit", "ijepa") else ())
    renamed: Arrays = {}
    for key, array in arrays.items():
        old_name = key
        for pattern, replacement in patterns:
            old_name = pattern.sub(replacement, old_name)
        renamed[old_name] = array
    return renamed


def _fill_biases(arrays: Arrays) -> None:
    """DINOv3's key has no bias, where query and value have one."""
    for key in [key for key in arrays if key.endswith(".q_proj.bias")]:
        for part in ("k_proj", "v_proj"):
            arrays.setdefault(key.replace("q_proj", part), np.zeros_like(arrays[key]))


def names_for(arrays: Arrays) -> Names:
    """The table for (normalized) arrays of a ViT."""
    family = family_of(arrays)
    assert family is not None
    names = FAMILIES[family].names
    first = names.block.format(0)
    if f"{first}.mlp.weights_in.weight" in arrays:
        return _gated(family)
    if f"{first}.mlp.gate_proj.weight" in arrays:
        return _gated(family)
    if family == "deit" and "classifier.weight" in arrays:
        # DeiTForImageClassification reads the class token alone: the other is like a register.
        return replace(
            names, distillation_token=None, registers=names.distillation_token, head="classifier"
        )
    if family == "clip_vision_model" and "classifier.weight" in arrays:
        return replace(names, head="classifier")
    return names


def _gated(family: str) -> Names:
    names = FAMILIES[family].names
    if family == "dinov3_vit":
        return replace(names, hidden=("mlp.gate_proj", "mlp.up_proj"))
    return replace(names, hidden=("mlp.weights_in",), mlp_out="mlp.weights_out")


def family_for(model: VisionTransformer) -> str:
    """The family whose layout a model is written in."""
    kinds = {
        "dinov3_vit": model.rope is not None,
        "deit": model.classifier == "distilled",
        "siglip_vision_model": model.classifier == "map",
        "clip_vision_model": model.pre_norm,
        "dinov2_with_registers": model.num_registers > 0,
        "dinov2": model.layer_scale_init is not None or model.classifier == "token_gap",
        "vit": model.has_class_token,
        "ijepa": True,
    }
    return next(family for family, fits in kinds.items() if fits)


def names_of(model: VisionTransformer) -> Names:
    """The table that a model is written by."""
    family = family_for(model)
    return _gated(family) if model.gated_mlp else FAMILIES[family].names


def hugging_face_rules(
    model: VisionTransformer | BiTResNet, names: Names | None = None
) -> list[Rule]:
    """Rules for a ViT, or a BiT ResNet, under the names that files on the Hub have."""
    if isinstance(model, BiTResNet):
        return _bit_rules(model)
    return torch_rules(model, names or names_of(model))


def finish_hugging_face(arrays: Arrays, model: VisionTransformer | BiTResNet) -> Arrays:
    """The way back from the one form: what Hugging Face's class for such a model reads."""
    if isinstance(model, BiTResNet):
        return arrays
    name = family_for(model)
    family = FAMILIES[name]
    names = family.names
    pad_positions(arrays, names, family.positioned, model)
    if name == "dinov3_vit":
        for i in range(model.num_layers):
            drop_zeros(arrays, f"layer.{i}.attention.k_proj.bias", "DINOv3 of Hugging Face")
    if name == "clip_vision_model":
        drop_zeros(arrays, "visual_projection.bias", "CLIP of Hugging Face")
        arrays[names.class_token] = arrays[names.class_token].reshape(-1)
    if names.positions == "embeddings.position_embedding.weight" and names.positions in arrays:
        arrays[names.positions] = arrays[names.positions][0]
    for part in ("weight", "bias"):
        if f"head.attention.q.{part}" in arrays:
            pieces = [arrays.pop(f"head.attention.{piece}.{part}") for piece in ("q", "kv")]
            arrays[f"head.attention.in_proj_{part}"] = np.concatenate(pieces)
    if model.head is None:
        return arrays
    heads = (names.head, names.distillation_head)
    return {
        key if key.rpartition(".")[0] in heads else family.prefix + key: array
        for key, array in arrays.items()
    }


def hugging_face_arrays_config(arrays: Arrays) -> dict[str, Any]:
    """What (normalized) arrays of a ViT tell of its config."""
    family, names = family_of(arrays), names_for(arrays)
    config = torch_config(arrays, names)
    if family == "dinov3_vit":
        config |= {"rope": "normalized", "position_embedding": "none"}
    classifies = config["num_classes"] is not None
    if family in ("dinov2", "dinov2_with_registers") and classifies:
        config["classifier"] = "token_gap"
    if family == "clip_vision_model" and names.head == "classifier":
        config["classifier"] = "gap"
    return config


def _bit_rules(model: BiTResNet) -> list[Rule]:
    rules = [convolution("root_conv/kernel", "bit.embedder.convolution.weight")]
    keys = [f"stages.{s}.layers.{u}" for s, count in enumerate(model.units) for u in range(count)]
    for unit, key in zip(model.residual_units, keys, strict=True):
        rules += preactivation_rules(unit.name, f"bit.encoder.{key}", unit.project)
    rules += norm("final_norm", "bit.norm")
    if model.head is not None:
        rules += dense("head", "classifier.1")
    return rules
