"""Layout of BiT's official `.npz` files."""

from __future__ import annotations

from vit_keras.bit_resnet import BiTResNet
from vit_keras.weights.rules import Rule, norm, reshaped, same


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
