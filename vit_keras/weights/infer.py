"""A model's config from the arrays of its checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from vit_keras.bit_resnet import BiTResNet
from vit_keras.image_classifier import ImageClassifier
from vit_keras.layers.resnet_stem import num_halvings
from vit_keras.layers.resnet_width import BASE_CHANNELS
from vit_keras.variants import ENCODER_SIZES
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Arrays

_WITHOUT_ARRAYS = ("sincos_2d", "none")  # position embeddings that have no weights

BIT_IMAGE_SIZE = 224  # a ResNet's weights tell no image size, and take any


def infer_model(
    layout: str,
    arrays: Arrays,
    source: object,
    overrides: dict[str, Any],
    image_size: int | tuple[int, int] | None,
) -> tuple[type[ImageClassifier], dict[str, Any]]:
    """The class and arguments of the model that a checkpoint holds.

    Args:
        layout: one of `LAYOUTS`.
        arrays: as `read_arrays` gives them.
        source: what to call the file in messages.
        overrides: arguments that win over what the arrays say.
        image_size: what the caller asks for, for a file whose arrays belong to no image size.

    Raises:
        ValueError: something is needed that the arrays do not tell; the message names the
            argument to give.
    """
    if any(key.startswith(("resnet/", "bit.", "stem.conv.")) for key in arrays):
        return BiTResNet, {**_bit_config(arrays), **overrides}
    reader = {
        "official": _official_config,
        "big_vision": _official_config,
        "timm": _timm_config,
        "hugging_face": _hugging_face_config,
    }[layout]
    try:
        config = {**reader(arrays, overrides), **overrides}
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    if "num_heads" not in config:
        config["num_heads"] = _known_heads(config, source)
    num_positions = config.pop("num_positions", None)
    if num_positions is None and config.get("position_embedding") not in _WITHOUT_ARRAYS:
        raise ValueError(
            f"{source} has no position embedding: give position_embedding, one of "
            f"{', '.join(_WITHOUT_ARRAYS)}."
        )
    if num_positions is not None:
        config["image_size"] = _image_size(num_positions, config, source)
    elif image_size is not None:
        config["image_size"] = image_size
    else:
        raise ValueError(f"{source} does not tell the image size: give image_size.")
    return VisionTransformer, config


def _shape(arrays: Arrays, pattern: str, axes: int) -> tuple[int, ...]:
    """Shape of the first array with a name like `pattern`, which has so many axes."""
    name = next((key for key in arrays if re.fullmatch(pattern, key)), None)
    if name is None:
        readable = pattern.replace("\\", "")
        raise ValueError(f"no array is named {readable}, which would tell the model's sizes.")
    if arrays[name].ndim != axes:
        raise ValueError(f"{name} has shape {arrays[name].shape}, but should have {axes} axes.")
    return arrays[name].shape


def _count(keys: Iterable[str], pattern: str) -> int:
    """One more than the largest number that `pattern` captures."""
    numbers = [int(m[1]) for m in (re.match(pattern, key) for key in keys) if m]
    return 1 + max(numbers, default=-1)


def _units(keys: Iterable[str], pattern: str) -> tuple[int, ...]:
    """Units per stage, from names with the numbers of stage and unit."""
    found = {(int(m[1]), int(m[2])) for m in (re.match(pattern, key) for key in keys) if m}
    stages = sorted({stage for stage, _ in found})
    return tuple(sum(stage == s for s, _ in found) for stage in stages)


def _official_config(arrays: Arrays, overrides: dict[str, Any]) -> dict[str, Any]:
    block = r"Transformer/encoderblock_\d+"
    _, num_heads, _ = _shape(arrays, f"{block}/MultiHead.*/query/kernel", 3)
    _, mlp_dim = _shape(arrays, f"{block}/MlpBlock.*/Dense_0/kernel", 2)
    patch, _, _, width = _shape(arrays, "embedding/kernel", 4)
    config: dict[str, Any] = {
        "patch_size": patch,
        "width": width,
        "num_layers": _count(arrays, r"Transformer/encoderblock_(\d+)/"),
        "num_heads": num_heads,
        "mlp_dim": mlp_dim,
        "num_classes": _length(arrays, "head/bias"),
        "representation_size": _length(arrays, "pre_logits/bias"),
        "stem_units": _units(arrays, r"block(\d+)/unit(\d+)/")
        if "conv_root/kernel" in arrays
        else None,
    }
    if "conv_root/kernel" in arrays:
        config["stem_width_factor"] = arrays["conv_root/kernel"].shape[-1] / BASE_CHANNELS
    if "cls" in arrays:
        config["classifier"] = "token"
    else:
        config["classifier"] = "map" if "MAPHead_0/probe" in arrays else "gap"
    for key, positioned in (
        ("Transformer/posembed_input/pos_embedding", True),
        ("pos_embedding", False),
    ):
        if key in arrays:
            config["class_token_positioned"] = positioned
            config["num_positions"] = arrays[key].shape[1] - (positioned and "cls" in arrays)
    return config


def _timm_config(arrays: Arrays, overrides: dict[str, Any]) -> dict[str, Any]:
    width, _, patch, _ = _shape(arrays, r"patch_embed\.proj\.weight", 4)
    mlp_dim, _ = _shape(arrays, r"blocks\.\d+\.mlp\.fc1\.weight", 2)
    backbone = "patch_embed.backbone."
    config: dict[str, Any] = {
        "patch_size": patch,
        "width": width,
        "num_layers": _count(arrays, r"blocks\.(\d+)\."),
        "mlp_dim": mlp_dim,
        "num_classes": _length(arrays, "head.bias"),
        "representation_size": _length(arrays, "pre_logits.fc.bias"),
        "stem_units": _units(arrays, re.escape(backbone) + r"stages\.(\d+)\.blocks\.(\d+)\.")
        if f"{backbone}stem.conv.weight" in arrays
        else None,
        "num_registers": arrays["reg_token"].shape[1] if "reg_token" in arrays else 0,
        "qk_norm": "blocks.0.attn.q_norm.weight" in arrays,
    }
    if f"{backbone}stem.conv.weight" in arrays:
        stem_channels = arrays[f"{backbone}stem.conv.weight"].shape[0]
        config["stem_width_factor"] = stem_channels / BASE_CHANNELS
    if "blocks.0.ls1.gamma" in arrays:
        config["layer_scale_init"] = 1e-5  # timm's; it is overwritten
    if "blocks.0.attn.q_norm.weight" in arrays:
        config["num_heads"] = width // arrays["blocks.0.attn.q_norm.weight"].shape[0]
    if "cls_token" in arrays:
        config["classifier"] = "token"
    else:
        config["classifier"] = "map" if "attn_pool.latent" in arrays else "gap"
    if "pos_embed" in arrays:
        positions = arrays["pos_embed"].shape[1]
        # timm keeps both kinds under one name: its default unless the caller says otherwise.
        positioned = overrides.get("class_token_positioned", True)
        config["class_token_positioned"] = positioned
        config["num_positions"] = positions - (positioned and "cls_token" in arrays)
    return config


def _hugging_face_config(arrays: Arrays, overrides: dict[str, Any]) -> dict[str, Any]:
    embeddings = r"vit\.embeddings\."
    width, _, patch, _ = _shape(arrays, rf"{embeddings}patch_embeddings\.projection\.weight", 4)
    _, positions, _ = _shape(arrays, rf"{embeddings}position_embeddings", 3)
    mlp_dim, _ = _shape(arrays, r"vit\.encoder\.layer\.\d+\.intermediate\.dense\.weight", 2)
    return {
        "patch_size": patch,
        "width": width,
        "num_layers": _count(arrays, r"vit\.encoder\.layer\.(\d+)\."),
        "mlp_dim": mlp_dim,
        "num_classes": _length(arrays, "classifier.bias"),
        "representation_size": _length(arrays, "vit.pooler.dense.bias"),
        "num_positions": positions - 1,
    }


def _bit_config(arrays: Arrays) -> dict[str, Any]:
    patterns = {
        "resnet/root_block/standardized_conv2d/kernel": (r"resnet/block(\d+)/unit(\d+)/", 3),
        "stem.conv.weight": (r"stages\.(\d+)\.blocks\.(\d+)\.", 0),
        "bit.embedder.convolution.weight": (r"bit\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", 0),
    }
    root = next(key for key in patterns if key in arrays)
    pattern, channel_axis = patterns[root]
    heads = ("resnet/head/conv2d/bias", "head.fc.bias", "classifier.1.bias")
    return {
        "image_size": BIT_IMAGE_SIZE,
        "units": _units(arrays, pattern),
        "width_factor": arrays[root].shape[channel_axis] / BASE_CHANNELS,
        "num_classes": next((_length(arrays, key) for key in heads if key in arrays), None),
    }


def _length(arrays: Arrays, key: str) -> int | None:
    return arrays[key].shape[0] if key in arrays else None


def _known_heads(config: dict[str, Any], source: object) -> int:
    """Heads of the named size with these numbers: the arrays alone do not tell them."""
    for size in ENCODER_SIZES.values():
        numbers = asdict(size)
        if all(config[name] == numbers[name] for name in ("num_layers", "width", "mlp_dim")):
            return size.num_heads
    raise ValueError(
        f"{source}: {config['num_layers']} layers of width {config['width']} are no size with a "
        "name, and the arrays do not tell the number of attention heads: give num_heads."
    )


def _image_size(num_positions: int, config: dict[str, Any], source: object) -> tuple[int, int]:
    side = math.isqrt(num_positions)
    if side * side != num_positions:
        raise ValueError(
            f"{source}: {num_positions} patches are no square grid: load it with load_weights "
            "into a model of its image size, then use adapt_model. (A timm file whose class token "
            "has no position needs class_token_positioned=False.)"
        )
    pixels = side * config["patch_size"]
    if config.get("stem_units") is not None:
        pixels *= 2 ** num_halvings(config["stem_units"])
    return pixels, pixels
