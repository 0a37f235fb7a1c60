"""Training part of a model: frozen blocks, and LoRA beside them."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from groundwork.errors import UserError
from pipeline.training.model.model_config import ModelConfig
from vit_keras import VisionTransformer

LORA = ("lora_kernel_a", "lora_kernel_b")
PRODUCTS = ("qkv", "out", "dense_0", "dense_1")
"""Dense layers of a block that LoRA adds to."""
AFTER_BLOCKS = ("head", "pre_logits", "encoder_norm")


def train_partially(model: keras.Model, config: ModelConfig) -> None:
    """Leave for training what `config` says: all, what follows its frozen blocks, or LoRA.

    Call it before the optimizer is made.

    Raises:
        UserError: another model than a ViT, or one with fewer blocks.
    """
    if config.frozen_blocks is None and config.lora_rank is None:
        return
    for name in ("frozen_blocks", "lora_rank"):
        if getattr(config, name) is not None and not isinstance(model, VisionTransformer):
            raise UserError(f"model.{name}: this model has no encoder blocks: leave it out")
    if config.lora_rank is not None:
        _add_lora(model, config.lora_rank)
    else:
        assert config.frozen_blocks is not None
        _freeze(model, config.frozen_blocks)


def merged(model: keras.Model) -> keras.Model:
    """The model without LoRA, whose products are in its kernels; without LoRA `model` itself."""
    layers = [layer for layer in _products(model) if layer.lora_enabled]
    if not layers:
        return model
    values = {weight.path: weight for weight in model.weights}
    values |= {f"{layer.path}/kernel": layer.kernel for layer in layers}
    plain = type(model).from_config(model.get_config())
    for weight in plain.weights:
        weight.assign(values[weight.path])
    return plain


def _freeze(model: keras.Model, count: int) -> None:
    if not 0 <= count <= model.num_layers:
        raise UserError(
            f"model.frozen_blocks is {count}, and the model has {model.num_layers} encoder blocks"
        )
    kept = {f"block_{number}" for number in range(count, model.num_layers)}
    for weight in model.weights:
        layer = weight.path.split("/")[1]
        after = layer.startswith(AFTER_BLOCKS) and (count < model.num_layers or layer == "head")
        weight.trainable = layer in kept or after


def _add_lora(model: keras.Model, rank: int) -> None:
    for layer in _products(model):
        layer.enable_lora(rank)
    for weight in model.weights:
        parts = weight.path.split("/")
        weight.trainable = parts[1] == "head" or parts[-1] in LORA


def _products(model: keras.Model) -> Iterator[keras.layers.Dense]:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dense) and layer.name in PRODUCTS:
            yield layer
