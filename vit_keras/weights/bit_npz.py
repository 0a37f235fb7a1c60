"""Layout of BiT's official `.npz` files."""

from __future__ import annotations

import re

import numpy as np

from vit_keras.bit_resnet import BiTResNet
from vit_keras.weights.rules import Arrays, Rule, norm, reshaped, same


def bit_rules(model: BiTResNet) -> list[Rule]:
    """Rules of google-research/big_transfer, bit_pytorch/models.py, `load_from`."""
    rules = [same("root_conv/kernel", "resnet/root_block/standardized_conv2d/kernel")]
    for unit in model.residual_units:
        key = f"resnet/{unit.name.replace('_', '/')}"
        parts = [("conv1", "a"), ("conv2", "b"), ("conv3", "c")]
        if unit.project:
            parts.append(("conv_proj", "a/proj"))
        for conv, part in parts:
            rules.append(
                same(f"{unit.name}/{conv}/kernel", f"{key}/{part}/standardized_conv2d/kernel")
            )
        for gn, part in (("gn1", "a"), ("gn2", "b"), ("gn3", "c")):
            rules += norm(f"{unit.name}/{gn}", f"{key}/{part}/group_norm", "/gamma", "/beta")
    rules += norm("final_norm", "resnet/group_norm", "/gamma", "/beta")
    if model.num_classes is not None:
        in_model = (model.feature_dim, model.num_classes)
        rules += [
            reshaped("head/kernel", "resnet/head/conv2d/kernel", (1, 1, *in_model), in_model),
            same("head/bias", "resnet/head/conv2d/bias"),
        ]
    return rules


ROOT = "resnet/root_block/standardized_conv2d/kernel"
_OF_BIG_VISION = "root_block/conv_root/kernel"


def normalize_bit(arrays: Arrays) -> Arrays:
    """Bring the variations of BiT's files to one form.

    Some number the convolutions; big_vision (models/bit_paper.py) has names of its own. Arrays that
    are not BiT's stay as they are.
    """
    for prefix in ("params/", "opt/target/"):
        if f"{prefix}{_OF_BIG_VISION}" in arrays:
            arrays = {k[len(prefix) :]: a for k, a in arrays.items() if k.startswith(prefix)}
    if _OF_BIG_VISION in arrays:
        return dict(_from_big_vision(key, array) for key, array in arrays.items())
    return {
        re.sub(r"/standardized_conv2d_\d+/", "/standardized_conv2d/", key): array
        for key, array in arrays.items()
    }


def _from_big_vision(key: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if key == _OF_BIG_VISION:
        return ROOT, array
    if key.startswith("head/"):
        array = array[None, None] if key == "head/kernel" else array
        return f"resnet/head/conv2d/{key.removeprefix('head/')}", array
    of_norm = {"scale": "gamma", "bias": "beta"}
    if key.startswith("norm-pre-head/"):
        return f"resnet/group_norm/{of_norm[key.rpartition('/')[2]]}", array.reshape(-1)
    match = re.fullmatch(r"(block\d+/unit\d+)/(conv|gn)(\d|_proj)/(\w+)", key)
    if match is None:
        return key, array
    unit, kind, part, weight = match.groups()
    group = "a/proj" if part == "_proj" else "abc"[int(part) - 1]
    if kind == "conv":
        return f"resnet/{unit}/{group}/standardized_conv2d/{weight}", array
    return f"resnet/{unit}/{group}/group_norm/{of_norm[weight]}", array.reshape(-1)
