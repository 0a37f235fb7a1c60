"""Layout of timm's state dicts: vision_transformer, its hybrids, deit, eva, and BiT's resnetv2."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Arrays, Rule, convolution, norm, same
from vit_keras.weights.torch_layout import (
    Names,
    drop_zeros,
    pad_positions,
    torch_config,
    torch_rules,
    units_of,
    width_factor,
)

NAMES = Names(
    patches="patch_embed.proj",
    patch_norm="patch_embed.norm",
    class_token="cls_token",
    distillation_token="dist_token",
    registers="reg_token",
    positions="pos_embed",
    pre_norm="norm_pre",
    block="blocks.{}",
    attention_norm="norm1",
    qkv=("attn.qkv",),
    query_norm="attn.q_norm",
    key_norm="attn.k_norm",
    attention_inner_norm="attn.norm",
    out="attn.proj",
    attention_scale="ls1.gamma",
    mlp_norm="norm2",
    hidden=("mlp.fc1",),
    mlp_inner_norm="mlp.norm",
    mlp_out="mlp.fc2",
    mlp_scale="ls2.gamma",
    norm="norm",
    feature_norm="fc_norm",
    pre_logits="pre_logits.fc",
    head="head",
    distillation_head="head_dist",
    probe="attn_pool.latent",
    pool_query="attn_pool.q",
    pool_key_value=("attn_pool.kv",),
    pool_out="attn_pool.proj",
    pool_norm="attn_pool.norm",
    pool_hidden="attn_pool.mlp.fc1",
    pool_mlp_out="attn_pool.mlp.fc2",
)

_BACKBONE = "patch_embed.backbone"

# Blocks of another kind than a ViT's, by an array that only they have.
_FOREIGN = {
    "attn.lambda_q1": "differential attention",
    "in_proj.weight": "attention beside the MLP",
    "lambda_q1": "differential attention beside the MLP",
    "attns.0.norm.weight": "several attentions side by side",
    "attn.relative_position_bias_table": "relative position biases",
    "attn.gate.weight": "gated attention",
}


def is_timm(arrays: Arrays) -> bool:
    """Whether the arrays have timm's names."""
    keys = ("patch_embed.proj.weight", "stem.conv.weight", f"{_BACKBONE}.0.conv.weight")
    return any(key in arrays for key in keys)


def timm_rules(model: VisionTransformer | BiTResNet) -> list[Rule]:
    """Rules for a ViT, a hybrid or a BiT ResNet as timm names their parameters."""
    if isinstance(model, BiTResNet):
        return _bit_rules(model)
    return torch_rules(model, NAMES) + ([] if model.stem is None else _stem_rules(model))


def normalize_timm(arrays: Arrays) -> Arrays:
    """Bring the variations of timm's files to one form: that of its vision_transformer.

    Its eva module keeps query, key and value, their biases, gate and value, and LayerScale under
    names of their own; aimv2 keeps the gate of its MLPs by itself.

    Raises:
        ValueError: blocks of another kind than a ViT's.
    """
    for part, kind in _FOREIGN.items():
        if f"blocks.0.{part}" in arrays:
            raise ValueError(f"blocks with {kind} (blocks.0.{part}) are no ViT's of this package.")
    if f"{_BACKBONE}.conv1.0.weight" in arrays or f"{_BACKBONE}.0.conv.weight" in arrays:
        raise ValueError("a hybrid with another stem than BiT's is not of this package.")
    # A rotary embedding's table follows from the config; so does the number of a relative position.
    arrays = {key: a for key, a in arrays.items() if not key.startswith("rope.")}
    split = {
        re.sub(r"(attn)\.q_proj\.|(mlp)\.fc1_g\.", r"\1\2.@.", key)
        for key in arrays
        if ".attn.q_proj." in key or ".mlp.fc1_g." in key
    }
    for key in split:
        parts = ("q_proj", "k_proj", "v_proj") if ".attn." in key else ("fc1_g", "fc1_x")
        found = [arrays.pop(key.replace("@", part), None) for part in parts]
        whole = next(a for a in found if a is not None)
        filled = [np.zeros_like(whole) if a is None else a for a in found]
        arrays[key.replace("@", "qkv" if ".attn." in key else "fc1")] = np.concatenate(filled)
    for key in [key for key in arrays if key.endswith(".attn.q_bias")]:
        block = key.removesuffix("q_bias")
        query, value = arrays.pop(key), arrays.pop(f"{block}v_bias")
        arrays[f"{block}qkv.bias"] = np.concatenate([query, np.zeros_like(query), value])
    return {re.sub(r"\.gamma_([12])$", r".ls\1.gamma", key): a for key, a in arrays.items()}


def finish_timm(arrays: Arrays, model: VisionTransformer | BiTResNet) -> Arrays:
    """The way back: the names that timm's own class for such a model reads."""
    if isinstance(model, BiTResNet):
        return arrays
    if model.classifier == "distilled":
        pad_positions(arrays, NAMES, 2, model)
    elif model.num_registers and model.num_unpositioned_tokens < model.num_prefix_tokens:
        # timm gives either all tokens before the patches a position or none: the class token takes
        # its own in.
        positions = arrays[NAMES.positions]
        arrays[NAMES.class_token] = arrays[NAMES.class_token] + positions[:, :1]
        arrays[NAMES.positions] = positions[:, 1:]
    for i in range(model.num_layers):
        block = f"blocks.{i}."
        if model.gated_mlp and (model.rope is not None or model.norm == "rms_norm"):
            for part in ("weight", "bias"):
                if (whole := arrays.pop(f"{block}mlp.fc1.{part}", None)) is not None:
                    gate, value = np.split(whole, 2)
                    arrays[f"{block}mlp.fc1_g.{part}"] = gate
                    arrays[f"{block}mlp.fc1_x.{part}"] = value
        if model.rope is not None:
            if model.qkv_bias:
                parts = np.split(arrays.pop(f"{block}attn.qkv.bias"), 3)
                for part, array in zip("qkv", parts, strict=True):
                    arrays[f"{block}attn.{part}_bias"] = array
                drop_zeros(arrays, f"{block}attn.k_bias", "timm's eva module")
            for n in (1, 2):
                if f"{block}ls{n}.gamma" in arrays:
                    arrays[f"{block}gamma_{n}"] = arrays.pop(f"{block}ls{n}.gamma")
    return arrays


def timm_arrays_config(arrays: Arrays) -> dict[str, Any]:
    """What the arrays of a ViT or a hybrid tell of its config."""
    config = torch_config(arrays, NAMES)
    for root in (f"{_BACKBONE}.stem.conv.weight", f"{_BACKBONE}.conv.weight"):
        if root in arrays:
            config["stem_units"] = units_of(
                arrays, re.escape(_BACKBONE) + r"\.stages\.(\d+)\.blocks\.(\d+)\."
            )
            config["stem_width_factor"] = width_factor(arrays[root].shape[0])
            config["stem_numerics"] = "pytorch"
    if config["qk_norm"]:
        head_dim = arrays["blocks.0.attn.q_norm.weight"].shape[0]
        config["num_heads"] = config["width"] // head_dim
    return config


def _stem_rules(model: VisionTransformer) -> list[Rule]:
    assert model.stem is not None
    # timm's stem without stages is a sequence of layers, with stages a part of a ResNet.
    root = f"{_BACKBONE}.stem" if model.stem.units else _BACKBONE
    rules = [
        convolution("stem/conv_root/kernel", f"{root}.conv.weight"),
        *norm("stem/gn_root", f"{root}.norm"),
    ]
    names = _unit_keys(model.stem.units)
    for unit, name in zip(model.stem.residual_units, names, strict=True):
        path, key = f"stem/{unit.name}", f"{_BACKBONE}.{name}"
        for n in (1, 2, 3):
            rules.append(convolution(f"{path}/conv{n}/kernel", f"{key}.conv{n}.weight"))
            rules += norm(f"{path}/gn{n}", f"{key}.norm{n}")
        if unit.project:
            rules.append(convolution(f"{path}/conv_proj/kernel", f"{key}.downsample.conv.weight"))
            rules += norm(f"{path}/gn_proj", f"{key}.downsample.norm")
    return rules


def _bit_rules(model: BiTResNet) -> list[Rule]:
    rules = [convolution("root_conv/kernel", "stem.conv.weight")]
    for unit, key in zip(model.residual_units, _unit_keys(model.units), strict=True):
        rules += preactivation_rules(unit.name, key, unit.project)
    rules += norm("final_norm", "norm")
    if model.head is not None:
        rules.append(_convolution_head("head.fc.weight"))
        rules.append(same("head/bias", "head.fc.bias"))
    return rules


def _convolution_head(key: str) -> Rule:
    """The head, which timm keeps as a 1×1 convolution."""
    return Rule(
        "head/kernel",
        (key,),
        lambda w: [w.T[:, :, None, None]],
        lambda arrays: arrays[0][:, :, 0, 0].T,
    )


def _unit_keys(units: tuple[int, ...]) -> list[str]:
    return [f"stages.{s}.blocks.{u}" for s, count in enumerate(units) for u in range(count)]


def preactivation_rules(path: str, key: str, project: bool) -> list[Rule]:
    """Rules of one unit of a BiT ResNet; Hugging Face names its parts alike."""
    rules = []
    for n in (1, 2, 3):
        rules.append(convolution(f"{path}/conv{n}/kernel", f"{key}.conv{n}.weight"))
        rules += norm(f"{path}/gn{n}", f"{key}.norm{n}")
    if project:
        rules.append(convolution(f"{path}/conv_proj/kernel", f"{key}.downsample.conv.weight"))
    return rules
