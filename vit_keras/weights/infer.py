"""A model's config from its checkpoint: from the arrays, and what is told beside them."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

from vit_keras.bit_resnet import BiTResNet
from vit_keras.image_classifier import ImageClassifier
from vit_keras.layers.preactivation_unit import CONV_EPSILON
from vit_keras.layers.resnet_stem import num_halvings
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.files import Checkpoint
from vit_keras.weights.hugging_face import (
    FAMILIES,
    family_of,
    hugging_face_arrays_config,
    names_for,
)
from vit_keras.weights.rules import Arrays
from vit_keras.weights.timm import NAMES, timm_arrays_config
from vit_keras.weights.torch_layout import Names, count_of, length_of, units_of, width_factor

_WITHOUT_ARRAYS = ("sincos_2d", "none")  # position embeddings that have no weights

# What changes the function of a file in PyTorch's layouts, and no array tells.
_MUST_BE_KNOWN = ("num_heads", "activation", "norm_epsilon")

BIT_IMAGE_SIZE = 224  # a ResNet's weights tell no image size, and take any
_BIT_EPSILON = {"bit": CONV_EPSILON, "timm": 1e-8, "hugging_face": 1e-8}


@dataclass(frozen=True)
class Asked:
    """What the caller says of a checkpoint.

    Attributes:
        overrides: arguments of the model that win over all else.
        image_size: for a file whose arrays belong to no image size.
        grid: rows and columns of the patches in the file, where they are no square.
    """

    overrides: dict[str, Any]
    image_size: int | tuple[int, int] | None = None
    grid: tuple[int, int] | None = None


def infer_model(
    checkpoint: Checkpoint, asked: Asked
) -> tuple[type[ImageClassifier], dict[str, Any]]:
    """The class and arguments of the model that a checkpoint holds.

    Raises:
        ValueError: something is needed that is nowhere told; the message names the argument to
            give.
    """
    arrays, told = checkpoint.arrays, checkpoint.told
    is_bit = any(key.startswith(("resnet/", "bit.", "stem.conv.")) for key in arrays)
    if told.complete:
        return (BiTResNet if is_bit else VisionTransformer), {**told.arguments, **asked.overrides}
    try:
        if is_bit:
            config = {**_bit_config(arrays, checkpoint.layout), **told.arguments}
            config = _with_labels(config, checkpoint, asked)
            return BiTResNet, {**config, **asked.overrides}
        return VisionTransformer, _vit_config(checkpoint, asked)
    except ValueError as error:
        raise ValueError(f"{checkpoint.source}: {error}") from None


def _vit_config(checkpoint: Checkpoint, asked: Asked) -> dict[str, Any]:
    arrays, layout = checkpoint.arrays, checkpoint.layout
    if layout in ("official", "big_vision"):
        config = _official_config(arrays)
        positions, places = config.pop("positions"), config.pop("places")
    else:
        names = NAMES if layout == "timm" else names_for(arrays)
        config, positions, places = _torch_vit_config(checkpoint, asked, names)
    config |= asked.overrides
    told_size = config.pop("image_size", None)
    patch = config["patch_size"]
    if config.get("stem_units") is not None:
        patch *= 2 ** num_halvings(config["stem_units"])
    if positions is None:
        if "position_embedding" not in config:
            raise ValueError(
                "there is no position embedding: give position_embedding, one of "
                f"{', '.join(_WITHOUT_ARRAYS)}."
            )
        size = told_size or asked.image_size
        if asked.grid is not None:
            size = (asked.grid[0] * patch, asked.grid[1] * patch)
        if size is None:
            raise ValueError("nothing tells the image size: give image_size.")
        return {**config, "image_size": size}
    if told_size is not None and (told_size[0] % patch or told_size[1] % patch):
        warnings.warn(
            f"{checkpoint.source}: images of {told_size} pixels are no whole number of patches of "
            f"{patch}; its code leaves out the last rows and columns, and the model takes images "
            "without them.",
            stacklevel=5,
        )
    grid, before = _grid(positions, places, asked.grid, told_size, patch)
    config["image_size"] = (grid[0] * patch, grid[1] * patch)
    if "class_token_positioned" not in config:
        config["class_token_positioned"] = before == 1 and config.get("class_token") is not False
    return config


def _grid(
    positions: int,
    places: tuple[int, ...],
    given: tuple[int, int] | None,
    told_size: tuple[int, int] | None,
    patch: int,
) -> tuple[tuple[int, int], int]:
    """Rows and columns of the patches, and how many tokens before them have a position.

    Args:
        positions: how many there are.
        places: how many of the tokens before the patches may have one.
        given: rows and columns, as the caller says.
        told_size: height and width of the images, as a config says.
        patch: side of a patch in pixels.
    """
    grids = []
    if given is not None:
        grids = [(given[0], given[1])]
    elif told_size is not None:
        grids = [(told_size[0] // patch, told_size[1] // patch)]
    for rows, columns in grids:
        if positions - rows * columns in places:
            return (rows, columns), positions - rows * columns
        raise ValueError(
            f"{positions} positions do not fit a grid of {rows}×{columns} patches with "
            f"{' or '.join(map(str, places))} tokens before them."
        )
    sides = {p: math.isqrt(max(positions - p, 0)) for p in places}
    squares = [p for p, side in sides.items() if side and side * side == positions - p]
    if len(squares) == 1:
        side = sides[squares[0]]
        return (side, side), squares[0]
    kind = "more than one" if squares else "no"
    raise ValueError(
        f"{positions} positions are {kind} square grid of patches: give grid=(rows, columns)."
    )


def _torch_vit_config(
    checkpoint: Checkpoint, asked: Asked, names: Names
) -> tuple[dict[str, Any], int | None, tuple[int, ...]]:
    """Config, number of positions, and how many tokens before the patches may have one."""
    arrays, told, layout = checkpoint.arrays, checkpoint.told, checkpoint.layout
    of_arrays = (
        timm_arrays_config(arrays) if layout == "timm" else hugging_face_arrays_config(arrays)
    )
    config = {**of_arrays, **told.arguments}
    if of_arrays["classifier"] in ("distilled", "token_gap"):
        config["classifier"] = of_arrays["classifier"]
    family = None if layout == "timm" else family_of(arrays)
    if config["gated_mlp"] and "activation" in config and family != "dinov3_vit":
        config["activation"] = "silu"  # the only gate that these have
    missing = [
        name for name in _MUST_BE_KNOWN if name not in config and name not in asked.overrides
    ]
    if missing:
        raise ValueError(
            f"neither the arrays nor a config.json beside them tell {', '.join(missing)}: give "
            f"{' and '.join(f'{name}=…' for name in missing)}, or put its config.json there. "
            "(Of timm's plain ViTs: width/64 heads, activation 'gelu', norm_epsilon 1e-6; of "
            "Hugging Face's ViT 1e-12.)"
        )
    config = _with_labels(config, checkpoint, asked)
    positions = _count_positions(arrays, names)
    if positions is None and config.get("rope") is not None:
        config["position_embedding"] = "none"
    tokens = [
        arrays[name].shape[1]
        for name in (names.class_token, names.distillation_token, names.registers)
        if name is not None and name in arrays
    ]
    if layout == "timm":
        first = tokens[0] if names.class_token in arrays else 0
        return config, positions, tuple(sorted({0, first, sum(tokens)}))
    assert family is not None
    return config, positions, (FAMILIES[family].positioned,)


def _count_positions(arrays: Arrays, names: Names) -> int | None:
    """How many positions there are; None: none."""
    return arrays[names.positions].shape[1] if names.positions in arrays else None


def _with_labels(config: dict[str, Any], checkpoint: Checkpoint, asked: Asked) -> dict[str, Any]:
    """Without class names that are not the head's; with a warning if preprocessing is not told."""
    class_names = config.pop("class_names", None)
    if class_names is not None and len(class_names) == config.get("num_classes"):
        config["class_names"] = class_names
    told = "preprocessing" in config or "preprocessing" in asked.overrides
    if checkpoint.layout in ("timm", "hugging_face") and not told:
        warnings.warn(
            f"{checkpoint.source}: nothing beside it tells the mean and deviation of its pixels; "
            "[-1, 1] is taken. Give preprocessing=… where that is wrong.",
            stacklevel=5,
        )
    return config


def _shape(arrays: Arrays, pattern: str, axes: int) -> tuple[int, ...]:
    """Shape of the first array with a name like `pattern`, which has so many axes."""
    name = next((key for key in arrays if re.fullmatch(pattern, key)), None)
    if name is None:
        readable = pattern.replace("\\", "")
        raise ValueError(f"no array is named {readable}, which would tell the model's sizes.")
    if arrays[name].ndim != axes:
        raise ValueError(f"{name} has shape {arrays[name].shape}, but should have {axes} axes.")
    return arrays[name].shape


def _official_config(arrays: Arrays) -> dict[str, Any]:
    block = r"Transformer/encoderblock_\d+"
    _, num_heads, _ = _shape(arrays, f"{block}/MultiHead.*/query/kernel", 3)
    _, mlp_dim = _shape(arrays, f"{block}/MlpBlock.*/Dense_0/kernel", 2)
    patch, _, _, width = _shape(arrays, "embedding/kernel", 4)
    config: dict[str, Any] = {
        "patch_size": patch,
        "width": width,
        "num_layers": count_of(arrays, r"Transformer/encoderblock_(\d+)/"),
        "num_heads": num_heads,
        "mlp_dim": mlp_dim,
        "num_classes": length_of(arrays, "head/bias"),
        "representation_size": length_of(arrays, "pre_logits/bias"),
        "positions": None,
        "places": (0,),
    }
    if "conv_root/kernel" in arrays:
        config["stem_units"] = units_of(arrays, r"block(\d+)/unit(\d+)/")
        config["stem_width_factor"] = width_factor(arrays["conv_root/kernel"].shape[-1])
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
            config["positions"] = arrays[key].shape[1]
            config["places"] = (int(positioned and "cls" in arrays),)
    return config


def _bit_config(arrays: Arrays, layout: str) -> dict[str, Any]:
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
        "units": units_of(arrays, pattern),
        "width_factor": width_factor(arrays[root].shape[channel_axis]),
        "conv_epsilon": _BIT_EPSILON[layout],
        "num_classes": next((length_of(arrays, key) for key in heads if key in arrays), None),
    }
