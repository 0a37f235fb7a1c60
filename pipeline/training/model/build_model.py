"""The model that a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras

import vit_keras
from groundwork.errors import UserError, one_line
from pipeline.training.model.model_config import ModelConfig
from vit_keras.layers.attention import SelfAttention
from vit_keras.layers.mlp import Mlp
from vit_keras.layers.patch_embedding import PatchEmbedding

BFLOAT16_PRODUCTS = "bfloat16_products"
"""Stands where a policy does: matrix products in bfloat16, the residual stream in float32."""
PRODUCTS = (PatchEmbedding, SelfAttention, Mlp)


def build_model(
    config: ModelConfig,
    image_size: tuple[int, int],
    num_classes: int | None,
    *,
    seed: int,
    policy: str = "float32",
) -> keras.Model:
    """Make a model.

    Args:
        config: the variant, and what differs from it.
        image_size: height and width in pixels.
        seed: its weights are drawn from.
        num_classes: outputs of the head; None: no head.
        policy: Keras dtype policy, such as mixed_bfloat16, or BFLOAT16_PRODUCTS; weights are
            float32 always.

    Raises:
        UserError: the architecture cannot be, such as an image size that patches do not divide.
    """
    options = _options(config)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("float32" if policy == BFLOAT16_PRODUCTS else policy)
    try:
        model = vit_keras.create_model(
            config.variant, image_size=image_size, num_classes=num_classes, **options
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"model: {one_line(error, None)}") from error
    finally:
        keras.config.set_dtype_policy("float32")
    return _of_policy(model, policy)


def build_like(
    architecture: Mapping[str, Any], config: ModelConfig, *, seed: int, policy: str = "float32"
) -> keras.Model:
    """Make a model as another one is, with fresh weights; see `build_model`.

    Args:
        architecture: of `architecture_of`.
        config: what differs from it.
        seed: its weights are drawn from.
        policy: Keras dtype policy.
    """
    own = "float32" if policy == BFLOAT16_PRODUCTS else policy
    options = {**architecture["config"], **_options(config), "dtype": own}
    keras.utils.set_random_seed(seed)
    try:
        model = keras.saving.get_registered_object(architecture["class"]).from_config(options)
    except (ValueError, TypeError) as error:
        raise UserError(f"model: {one_line(error, None)}") from error
    return _of_policy(model, policy)


def architecture_of(model: keras.Model) -> dict[str, Any]:
    """What `build_like` makes such a model of, as JSON values."""
    return {
        "class": keras.saving.get_registered_name(type(model)),
        "config": model.get_config(),
    }


def _options(config: ModelConfig) -> dict[str, Any]:
    """What is given, but for what is no argument of a model; a ResNet knows no class token."""
    left_out = ("variant", "frozen_blocks", "lora_rank")
    chosen = asdict(config).items()
    return {name: value for name, value in chosen if value is not None and name not in left_out}


def _of_policy(model: keras.Model, policy: str) -> keras.Model:
    if policy == BFLOAT16_PRODUCTS:
        _multiply_in_bfloat16(model)
    return model


def _multiply_in_bfloat16(model: keras.Model) -> None:
    """Let the layers of matrix products compute in bfloat16, the rest as before."""
    found = [layer for layer in model._flatten_layers() if isinstance(layer, PRODUCTS)]
    if not any(isinstance(layer, SelfAttention) for layer in found):
        raise UserError(
            "precision=bfloat16_products: this model has no attention: choose bfloat16 or float32"
        )
    for layer in found:
        for part in layer._flatten_layers():
            part.dtype_policy = "mixed_bfloat16"
