"""What all PyTorch layouts of a ViT have in common: a table of names gives rules and a config."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_keras.layers.resnet_width import BASE_CHANNELS
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Arrays, Rule, convolution, same, side_by_side, transposed


@dataclass(frozen=True)
class Names:
    """Where a layout keeps each part of a ViT. None: it has no place for it.

    Those from `attention_norm` to `mlp_scale` follow the name of a block, which has the block's
    number in place of {}. A name without ending is a layer, with `weight` and `bias`.
    """

    patches: str
    class_token: str
    positions: str
    block: str
    attention_norm: str
    qkv: tuple[str, ...]
    out: str
    mlp_norm: str
    hidden: tuple[str, ...]
    mlp_out: str
    norm: str
    head: str
    distillation_token: str | None = None
    distillation_head: str | None = None
    registers: str | None = None
    patch_norm: str | None = None
    pre_norm: str | None = None
    query_norm: str | None = None
    key_norm: str | None = None
    attention_inner_norm: str | None = None
    attention_scale: str | None = None
    mlp_inner_norm: str | None = None
    mlp_scale: str | None = None
    feature_norm: str | None = None
    pre_logits: str | None = None
    probe: str | None = None
    pool_query: str = ""
    pool_key_value: tuple[str, ...] = ()
    pool_out: str = ""
    pool_norm: str = ""
    pool_hidden: str = ""
    pool_mlp_out: str = ""


def torch_rules(model: VisionTransformer, names: Names) -> list[Rule]:
    """Rules for every weight of a ViT that the layout has a place for."""
    rules = [
        convolution("patch_embedding/kernel", f"{names.patches}.weight"),
        *([same("patch_embedding/bias", f"{names.patches}.bias")] if model.patch_bias else []),
        *_tokens("class_token", names.class_token, model.class_token),
        *_tokens("distillation_token", names.distillation_token, model.distillation_token),
        *_tokens("registers", names.registers, model.registers),
    ]
    if model.position_embedding == "learned_1d" and model.position_place == "stem":
        rules.append(same("positions/embedding", names.positions))
    rules += _norm(model, "patch_norm", names.patch_norm, model.patch_norm)
    rules += _norm(model, "pre_norm", names.pre_norm, model.pre_norm)
    for i in range(model.num_layers):
        rules += _block_rules(model, names, i)
    final = names.feature_norm if model.final_norm == "features" else names.norm
    rules += _norm(model, "encoder_norm", final, model.encoder_norm is not None)
    if model.attention_pooling is not None and names.probe is not None:
        path = "attention_pooling"
        rules += [
            same(f"{path}/probe", names.probe),
            *_dense(f"{path}/query", (names.pool_query,)),
            *_dense(f"{path}/key_value", names.pool_key_value),
            *_dense(f"{path}/out", (names.pool_out,)),
            *_norm(model, f"{path}/norm", names.pool_norm),
            *_dense(f"{path}/mlp/dense_0", (names.pool_hidden,)),
            *_dense(f"{path}/mlp/dense_1", (names.pool_mlp_out,)),
        ]
    if model.pre_logits is not None and names.pre_logits is not None:
        rules += _dense("pre_logits", (names.pre_logits,))
    if model.head is not None:
        if model.classifier != "distilled":
            rules += _dense("head", (names.head,))
        elif names.distillation_head is not None:
            rules += _two_heads(names.head, names.distillation_head)
    return rules


def _block_rules(model: VisionTransformer, names: Names, index: int) -> list[Rule]:
    path, key = f"block_{index}", names.block.format(index)

    def at(name: str | None) -> str | None:
        return None if name is None else f"{key}.{name}"

    def under(several: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{key}.{name}" for name in several)

    attention, mlp, bias = f"{path}/attention", f"{path}/mlp", model.use_bias
    rules = [
        *_norm(model, f"{path}/attention_norm", at(names.attention_norm)),
        *_dense(f"{attention}/qkv", under(names.qkv), model.qkv_bias),
        *_norm(model, f"{attention}/query_norm", at(names.query_norm), model.qk_norm),
        *_norm(model, f"{attention}/key_norm", at(names.key_norm), model.qk_norm),
        *_norm(
            model,
            f"{attention}/mixed_norm",
            at(names.attention_inner_norm),
            model.attention_inner_norm,
        ),
        *_dense(f"{attention}/out", under((names.out,)), bias),
        *_norm(model, f"{path}/mlp_norm", at(names.mlp_norm)),
        *_dense(f"{mlp}/dense_0", under(names.hidden), bias),
        *_norm(model, f"{mlp}/hidden_norm", at(names.mlp_inner_norm), model.mlp_inner_norm),
        *_dense(f"{mlp}/dense_1", under((names.mlp_out,)), bias),
    ]
    if model.layer_scale_init is not None and names.attention_scale and names.mlp_scale:
        rules.append(same(f"{path}/attention_scale/gamma", f"{key}.{names.attention_scale}"))
        rules.append(same(f"{path}/mlp_scale/gamma", f"{key}.{names.mlp_scale}"))
    return rules


def _tokens(path: str, key: str | None, layer: object) -> list[Rule]:
    return [] if layer is None or key is None else [same(f"{path}/tokens", key)]


def _norm(model: VisionTransformer, path: str, key: str | None, there: bool = True) -> list[Rule]:
    if key is None or not there:
        return []
    if model.norm == "rms_norm":
        return [same(f"{path}/scale", f"{key}.weight")]
    return [same(f"{path}/gamma", f"{key}.weight"), same(f"{path}/beta", f"{key}.bias")]


def _dense(path: str, keys: tuple[str, ...], bias: bool = True) -> list[Rule]:
    """A dense layer, whose outputs lie in as many layers of the file, side by side."""
    if len(keys) == 1:
        rules = [transposed(f"{path}/kernel", f"{keys[0]}.weight")]
        return rules + ([same(f"{path}/bias", f"{keys[0]}.bias")] if bias else [])
    weights, biases = ([f"{key}.{part}" for key in keys] for part in ("weight", "bias"))
    rules = [side_by_side(f"{path}/kernel", weights, lambda w: w.T, lambda a: a.T)]
    if bias:
        rules.append(side_by_side(f"{path}/bias", biases, lambda w: w, lambda a: a))
    return rules


def _two_heads(key: str, distillation_key: str) -> list[Rule]:
    """The mean of two heads, over two tokens, as one head over both side by side."""
    keys = (key, distillation_key)
    return [
        Rule(
            "head/kernel",
            tuple(f"{k}.weight" for k in keys),
            lambda w: [2 * half.T for half in np.split(w, 2)],
            lambda arrays: np.concatenate([a.T for a in arrays]) / 2,
        ),
        Rule(
            "head/bias",
            tuple(f"{k}.bias" for k in keys),
            lambda w: [w, w],
            lambda arrays: (arrays[0] + arrays[1]) / 2,
        ),
    ]


def torch_config(arrays: Arrays, names: Names) -> dict[str, Any]:
    """What the arrays tell of a ViT's config: neither heads, nor activation, nor epsilon."""
    width, _, patch, patch_width = shape_of(arrays, f"{names.patches}.weight", 4)
    if patch != patch_width:
        raise ValueError(f"{names.patches}.weight has patches that are no squares.")

    def has(name: str | None, part: str = "weight") -> bool:
        return name is not None and f"{name}.{part}" in arrays

    first = names.block.format(0)

    def block_has(name: str | None, part: str = "weight") -> bool:
        return name is not None and has(f"{first}.{name}", part)

    width_in, mlp_dim = shape_of(arrays, f"{first}.{names.mlp_out}.weight", 2)
    hidden = sum(shape_of(arrays, f"{first}.{key}.weight", 2)[0] for key in names.hidden)
    if width_in != width or hidden not in (mlp_dim, 2 * mlp_dim):
        raise ValueError(f"the arrays of {first} do not fit together.")
    tokens = arrays.get(names.class_token)
    config: dict[str, Any] = {
        "patch_size": patch,
        "width": width,
        "num_layers": count_of(arrays, re.escape(names.block).replace(r"\{\}", r"(\d+)") + r"\."),
        "mlp_dim": mlp_dim,
        "gated_mlp": hidden != mlp_dim,
        "num_classes": length_of(arrays, f"{names.head}.weight"),
        "representation_size": length_of(arrays, f"{names.pre_logits}.bias"),
        "class_token": tokens is not None,
        "num_registers": arrays[names.registers].shape[1] if names.registers in arrays else 0,
        "qk_norm": block_has(names.query_norm),
        "norm": "layer_norm" if block_has(names.attention_norm, "bias") else "rms_norm",
        "qkv_bias": block_has(names.qkv[0], "bias"),
        "use_bias": block_has(names.out, "bias"),
        "patch_bias": has(names.patches, "bias"),
        "patch_norm": has(names.patch_norm),
        "pre_norm": has(names.pre_norm),
        "attention_inner_norm": block_has(names.attention_inner_norm),
        "mlp_inner_norm": block_has(names.mlp_inner_norm),
    }
    if names.attention_scale and f"{first}.{names.attention_scale}" in arrays:
        config["layer_scale_init"] = 1e-5  # the weights overwrite it
    if has(names.feature_norm) and not has(names.norm):
        config["final_norm"] = "features"
    elif not has(names.norm):
        config["final_norm"] = "none"
    if names.distillation_token in arrays:
        config["classifier"] = "distilled"
    elif names.probe in arrays:
        config["classifier"] = "map"
    else:
        config["classifier"] = (
            "token" if tokens is not None and config.get("final_norm") != "features" else "gap"
        )
    return config


def move_positions(arrays: Arrays, names: Names, model: VisionTransformer) -> Arrays:
    """Fit positions of the tokens before the patches to what the model has.

    A token and its position are only ever used as their sum, so that any form can be had exactly.
    In a file the class token comes first, then the distillation token, then the registers.
    """
    key = names.positions
    if key not in arrays or model.position_embedding != "learned_1d":
        return arrays
    rows, columns = model.grid_size
    positions = arrays[key]
    before = positions.shape[1] - rows * columns
    kept = model.num_prefix_tokens - model.num_unpositioned_tokens
    if before == kept or before < 0:
        return arrays
    arrays = dict(arrays)
    if before < kept:
        blank = np.zeros((1, kept - before, positions.shape[2]), positions.dtype)
        arrays[key] = np.concatenate([blank, positions], axis=1)
        return arrays
    place = 0
    for name in (names.class_token, names.distillation_token, names.registers):
        if name is None or name not in arrays or place >= before:
            continue
        stop = place + arrays[name].shape[1]
        if stop > kept:
            arrays[name] = arrays[name] + positions[:, place:stop]
        place = stop
    if place != before:
        return arrays  # the check of shapes names the array
    arrays[key] = np.concatenate([positions[:, :kept], positions[:, before:]], axis=1)
    return arrays


def pad_positions(arrays: Arrays, names: Names, wanted: int, model: VisionTransformer) -> None:
    """Give so many tokens before the patches a position, of zeros where they have none."""
    missing = wanted - (model.num_prefix_tokens - model.num_unpositioned_tokens)
    if names.positions in arrays and missing > 0:
        positions = arrays[names.positions]
        blank = np.zeros((1, missing, positions.shape[2]), positions.dtype)
        # What has a position is the class token, which comes first.
        parts = [positions[:, : wanted - missing], blank, positions[:, wanted - missing :]]
        arrays[names.positions] = np.concatenate(parts, axis=1)


def drop_zeros(arrays: Arrays, key: str, why: str) -> None:
    """Remove an array that the layout has no place for, unless it says something.

    Raises:
        ValueError: it is not zero.
    """
    if key in arrays and np.any(arrays.pop(key)):
        raise ValueError(f"{why} has no place for {key}, which is not zero.")


def shape_of(arrays: Arrays, name: str, axes: int) -> tuple[int, ...]:
    """Shape of an array, which has so many axes."""
    if name not in arrays:
        raise ValueError(f"no array is named {name}, which would tell the model's sizes.")
    if arrays[name].ndim != axes:
        raise ValueError(f"{name} has shape {arrays[name].shape}, but should have {axes} axes.")
    return arrays[name].shape


def count_of(keys: Iterable[str], pattern: str) -> int:
    """One more than the largest number that `pattern` captures at the beginning of a key."""
    numbers = [int(m[1]) for m in (re.match(pattern, key) for key in keys) if m]
    return 1 + max(numbers, default=-1)


def units_of(keys: Iterable[str], pattern: str) -> tuple[int, ...]:
    """Units per stage, from names with the numbers of stage and unit."""
    found = {(int(m[1]), int(m[2])) for m in (re.match(pattern, key) for key in keys) if m}
    stages = sorted({stage for stage, _ in found})
    return tuple(sum(stage == s for s, _ in found) for stage in stages)


def length_of(arrays: Arrays, key: str) -> int | None:
    """Length of an array's first axis; None: no such array."""
    return arrays[key].shape[0] if key in arrays else None


def width_factor(channels: int) -> float:
    """A stem's or ResNet's width factor, from the channels of its root."""
    return channels / BASE_CHANNELS
