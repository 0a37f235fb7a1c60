"""Which weights decay, and which learn more slowly."""

from __future__ import annotations

import re
from typing import NamedTuple

import keras

from groundwork.errors import UserError
from pipeline.training.optimizers.optim_config import OptimConfig


class WeightRule(NamedTuple):
    """How one weight is updated.

    Attributes:
        weight_decay: times the learning rate; 0 for all but kernels.
        rate_scale: the share of the learning rate that the weight gets.
        is_head: whether it learns in the steps in which the head alone does.
    """

    weight_decay: float = 0.0
    rate_scale: float = 1.0
    is_head: bool = False


def weight_rules(model: keras.Model, config: OptimConfig) -> list[WeightRule]:
    """The rules of `model`'s trainable weights, in their order.

    Kernels decay; biases, norms, tokens and embeddings do not. With `layer_decay`, the weights of
    encoder block i of L learn at layer_decay^(L − i) of the rate, what stands before the blocks at
    layer_decay^(L + 1), and what stands after them at the full rate (BEiT, arXiv 2106.08254).

    Raises:
        UserError: `layer_decay` for a model without encoder blocks.
    """
    paths = [weight.path for weight in model.trainable_variables]
    scales = _rate_scales(paths, config.layer_decay)
    return [
        WeightRule(_weight_decay(path, config), scale, path.split("/")[1] == "head")
        for path, scale in zip(paths, scales, strict=True)
    ]


def is_hidden_kernel(path: str) -> bool:
    """Whether a weight is a kernel inside an encoder block: neither embedding nor head."""
    return re.search(r"/block_\d+/.*/kernel$", path) is not None


def _weight_decay(path: str, config: OptimConfig) -> float:
    if not path.endswith("/kernel"):
        return 0.0
    if config.head_weight_decay is not None and path.endswith("/head/kernel"):
        return config.head_weight_decay
    return config.weight_decay


def _rate_scales(paths: list[str], layer_decay: float | None) -> list[float]:
    if layer_decay is None:
        return [1.0] * len(paths)
    # "vit/block_3/…": the blocks of a ResNet's stages lie a level deeper.
    found = [re.match(r"[^/]+/block_(\d+)/", path) for path in paths]
    blocks = [int(match[1]) for match in found if match]
    if not blocks:
        raise UserError(
            "optim.layer_decay: this model has no encoder blocks: choose a ViT, a hybrid or an "
            "axial ViT, or leave layer_decay out"
        )
    first = next(index for index, match in enumerate(found) if match)
    count = max(blocks) + 1
    depths = [
        int(match[1]) + 1 if match else (0 if index < first else count + 1)
        for index, match in enumerate(found)
    ]
    return [layer_decay ** (count + 1 - depth) for depth in depths]
