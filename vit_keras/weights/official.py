"""Layouts of the official checkpoints: vision_transformer ("official") and big_vision."""

from __future__ import annotations

import math
import re

import numpy as np

from vit_keras.layers.normalization import EPSILON
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Arrays, Rule, norm, reshaped, same, side_by_side

# What encloses the parameters in checkpoints of big_vision's trainers.
_PREFIXES = ("params/img/", "opt/target/", "params/")


def official_rules(model: VisionTransformer, big_vision: bool = False) -> list[Rule]:
    """Rules of google-research/vision_transformer, checkpoint.py, or of big_vision, models/vit.py.

    They differ in the numbering of a block's parts, and in the position embedding: the original
    has a position for the class token, big_vision has none.
    """
    names = _BIG_VISION if big_vision else _ORIGINAL
    width, heads = model.width, model.num_heads
    rules = [
        same("patch_embedding/kernel", "embedding/kernel"),
        same("patch_embedding/bias", "embedding/bias"),
    ]
    if model.stem is not None:
        rules += _stem_rules(model)
    if model.class_token is not None:
        rules.append(same("class_token/tokens", "cls"))
    if model.position_embedding == "learned_1d" and model.position_place == "stem":
        rules.append(same("positions/embedding", names["positions"]))
    for i in range(model.num_layers):
        file = f"Transformer/encoderblock_{i}"
        attention = f"{file}/{names['attention']}"
        rules += [
            *_norm(f"block_{i}/attention_norm", f"{file}/LayerNorm_0"),
            *_qkv(f"block_{i}/attention/qkv", attention, width, heads),
            *_out(f"block_{i}/attention/out", attention, width, heads),
            *_norm(f"block_{i}/mlp_norm", f"{file}/{names['mlp_norm']}"),
            *_mlp(f"block_{i}/mlp", f"{file}/{names['mlp']}"),
        ]
    rules += _norm("encoder_norm", "Transformer/encoder_norm")
    if model.attention_pooling is not None:
        rules += _map_head_rules(width, heads)
    for layer in ("pre_logits", "head"):
        if getattr(model, layer) is not None:
            rules += [same(f"{layer}/{part}", f"{layer}/{part}") for part in ("kernel", "bias")]
    return rules


def check_official(model: VisionTransformer) -> None:
    """Raise a ValueError that names the model's first option that the official code has not."""
    for option, there in {
        "activation": "gelu_tanh",
        "norm_epsilon": EPSILON,
        "stem_numerics": "flax",
        "pool_prefix": False,
        "residual_post_norm": False,
        "final_norm": "tokens",
        "gated_mlp": False,
        "rope": None,
    }.items():
        value = getattr(model, option)
        if value != there and (option != "stem_numerics" or model.stem is not None):
            raise ValueError(
                f"The official layouts have no place for {option} {value!r} of {model.name}: their "
                f"code has {there!r}. Where that is meant: adapt_model(model, {option}={there!r})."
            )
    reads = ("token", "gap", "map")
    if model.classifier not in reads or model.has_class_token != (model.classifier == "token"):
        raise ValueError(
            f"The official layouts have no place for classifier {model.classifier!r} of "
            f"{model.name}{' with' if model.has_class_token else ' without'} a class token."
        )


_ORIGINAL = {
    "positions": "Transformer/posembed_input/pos_embedding",
    "attention": "MultiHeadDotProductAttention_1",
    "mlp_norm": "LayerNorm_2",
    "mlp": "MlpBlock_3",
}
_BIG_VISION = {
    "positions": "pos_embedding",
    "attention": "MultiHeadDotProductAttention_0",
    "mlp_norm": "LayerNorm_1",
    "mlp": "MlpBlock_0",
}


def _norm(path: str, key: str) -> list[Rule]:
    return norm(path, key, "/scale", "/bias")


def _mlp(path: str, key: str) -> list[Rule]:
    return [
        same(f"{path}/dense_{n}/{part}", f"{key}/Dense_{n}/{part}")
        for n in (0, 1)
        for part in ("kernel", "bias")
    ]


def _heads_side_by_side(path: str, keys: list[str], width: int, heads: int) -> list[Rule]:
    """Kernels [width, heads, width/heads] and biases, one array per part in the file."""
    head_dim = width // heads
    return [
        side_by_side(
            f"{path}/kernel",
            [f"{key}/kernel" for key in keys],
            lambda w: w.reshape(width, heads, head_dim),
            lambda a: a.reshape(width, width),
        ),
        side_by_side(
            f"{path}/bias",
            [f"{key}/bias" for key in keys],
            lambda w: w.reshape(heads, head_dim),
            lambda a: a.reshape(width),
        ),
    ]


def _qkv(path: str, key: str, width: int, heads: int) -> list[Rule]:
    keys = [f"{key}/{part}" for part in ("query", "key", "value")]
    return _heads_side_by_side(path, keys, width, heads)


def _out(path: str, key: str, width: int, heads: int) -> list[Rule]:
    return [
        reshaped(
            f"{path}/kernel", f"{key}/out/kernel", (heads, width // heads, width), (width, width)
        ),
        same(f"{path}/bias", f"{key}/out/bias"),
    ]


def _map_head_rules(width: int, heads: int) -> list[Rule]:
    file, attention = "MAPHead_0", "MAPHead_0/MultiHeadDotProductAttention_0"
    pooling = "attention_pooling"
    return [
        same(f"{pooling}/probe", f"{file}/probe"),
        *_heads_side_by_side(f"{pooling}/query", [f"{attention}/query"], width, heads),
        *_heads_side_by_side(
            f"{pooling}/key_value", [f"{attention}/key", f"{attention}/value"], width, heads
        ),
        *_out(f"{pooling}/out", attention, width, heads),
        *_norm(f"{pooling}/norm", f"{file}/LayerNorm_0"),
        *_mlp(f"{pooling}/mlp", f"{file}/MlpBlock_0"),
    ]


def _stem_rules(model: VisionTransformer) -> list[Rule]:
    # Group norms are stored as (1, 1, 1, channels).
    def group_norm(path: str, key: str) -> list[Rule]:
        return [
            reshaped(f"{path}/{ours}", f"{key}/{theirs}", (1, 1, 1, -1), (-1,))
            for ours, theirs in (("gamma", "scale"), ("beta", "bias"))
        ]

    rules = [
        same("stem/conv_root/kernel", "conv_root/kernel"),
        *group_norm("stem/gn_root", "gn_root"),
    ]
    assert model.stem is not None
    for unit in model.stem.residual_units:
        path, key = f"stem/{unit.name}", unit.name.replace("_", "/")
        parts = ["1", "2", "3"] + (["_proj"] if unit.project else [])
        for part in parts:
            rules.append(same(f"{path}/conv{part}/kernel", f"{key}/conv{part}/kernel"))
            rules += group_norm(f"{path}/gn{part}", f"{key}/gn{part}")
    return rules


def normalize_official(arrays: Arrays) -> Arrays:
    """Bring the variations of official files to one form.

    Strips the prefix of big_vision's trainers, takes scanned blocks apart, gives group norms the
    shape (1, 1, 1, channels), which some files have and some have not, and the parts that Linen or
    big_vision once named otherwise their names of today.
    """
    for prefix in _PREFIXES:
        if any(key.startswith(prefix) for key in arrays):
            arrays = {k[len(prefix) :]: a for k, a in arrays.items() if k.startswith(prefix)}
    if "probe" in arrays:  # before MAPHead was a module
        parts = ("probe", "MlpBlock_0/", "MultiHeadDotProductAttention_0/", "LayerNorm_0/")
        arrays = {
            f"MAPHead_0/{key}" if key.startswith(parts) else key: a for key, a in arrays.items()
        }
    plain: Arrays = {}
    for key, array in arrays.items():
        if key.startswith("Transformer/encoderblock/"):
            rest = key[len("Transformer/encoderblock/") :]
            for i, block in enumerate(array):
                plain[f"Transformer/encoderblock_{i}/{rest}"] = block
        elif re.search(r"(^|/)gn(_root|_proj|[123])/(scale|bias)$", key):
            plain[key] = array.reshape(1, 1, 1, -1)
        else:
            plain[key] = array
    return _rename_old_positions(plain)


def _rename_old_positions(arrays: Arrays) -> Arrays:
    old, today = "Transformer/pos_embedding", _BIG_VISION["positions"]
    if old in arrays:  # big_vision before 2022
        arrays[today] = arrays.pop(old)
    if not is_big_vision(arrays):
        return arrays
    if _ORIGINAL["positions"] in arrays:
        # The original code under Linen, which numbers modules of each kind by themselves.
        return {_in_original_numbers(key): array for key, array in arrays.items()}
    count = arrays[today].shape[1] if today in arrays else 0
    if math.isqrt(max(count - 1, 0)) ** 2 + 1 == count > 2:
        # big_vision once gave the class token, or the place of one, a position too.
        if "cls" in arrays:
            arrays["cls"] = arrays["cls"] + arrays[today][:, :1]
        arrays[today] = arrays[today][:, 1:]
    return arrays


def _in_original_numbers(key: str) -> str:
    block = re.match(r"Transformer/encoderblock_\d+/", key)
    if block is None:
        return key
    module, slash, rest = key[block.end() :].partition("/")
    for part in ("attention", "mlp_norm", "mlp"):
        if module == _BIG_VISION[part]:
            return f"{block[0]}{_ORIGINAL[part]}{slash}{rest}"
    return key


def is_big_vision(arrays: Arrays) -> bool:
    """Whether (normalized) official arrays are in big_vision's form."""
    return any("MultiHeadDotProductAttention_0" in k and "encoderblock" in k for k in arrays)


def move_class_position(arrays: Arrays, big_vision: bool, positioned: bool) -> Arrays:
    """Fit the class token's position to a model that has one (`positioned`) or none.

    The token and its position are only ever used as their sum, so either form can be had exactly.
    """
    key = _BIG_VISION["positions"] if big_vision else _ORIGINAL["positions"]
    if "cls" not in arrays or key not in arrays or positioned != big_vision:
        return arrays
    arrays = dict(arrays)
    positions = arrays[key]
    if positioned:
        arrays[key] = np.concatenate([np.zeros_like(arrays["cls"]), positions], axis=1)
    else:
        arrays["cls"] = arrays["cls"] + positions[:, :1]
        arrays[key] = positions[:, 1:]
    return arrays
