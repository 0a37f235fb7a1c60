"""The normalizations of the family; their statistics are float32 in any precision."""

from __future__ import annotations

from typing import Any, Literal

import keras

from vit_keras.layers.resnet_width import GROUPS

Norm = Literal["layer_norm", "rms_norm"]

EPSILON = 1e-6  # flax's default, which the official checkpoints were trained with


def token_norm(
    name: str, dtype: Any, kind: Norm = "layer_norm", epsilon: float = EPSILON
) -> keras.layers.Layer:
    """Normalization over the channels of a token.

    Args:
        name: of the layer.
        dtype: policy of the layer.
        kind: "layer_norm", as everywhere in ViT, or "rms_norm", which neither subtracts a mean nor
            has an offset (Zhang and Sennrich, "Root Mean Square Layer Normalization"; AIMv2).
        epsilon: added to the variance, or to the mean square.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "layer_norm":
        return keras.layers.LayerNormalization(epsilon=epsilon, name=name, dtype=dtype)
    if kind == "rms_norm":
        return keras.layers.RMSNormalization(epsilon=epsilon, name=name, dtype=dtype)
    raise ValueError(f"norm must be one of layer_norm, rms_norm; got {kind!r}.")


def group_norm(
    name: str, dtype: Any, *, epsilon: float, zero_scale: bool = False
) -> keras.layers.GroupNormalization:
    """Group norm of 32 groups (BiT, section 3.2; the hybrids of the ViT paper).

    Args:
        name: of the layer.
        dtype: policy of the layer.
        epsilon: added to the variance.
        zero_scale: start the scale at 0, so that a residual branch that ends in it starts as
            the identity.
    """
    return keras.layers.GroupNormalization(
        groups=GROUPS,
        epsilon=epsilon,
        gamma_initializer="zeros" if zero_scale else "ones",
        name=name,
        dtype=dtype,
    )
