"""The two normalisations of the family; their statistics are float32 in any precision."""

from __future__ import annotations

from typing import Any

import keras

from vit_keras.layers.resnet_width import GROUPS

EPSILON = 1e-6  # flax's default, which the official checkpoints were trained with


def layer_norm(name: str, dtype: Any) -> keras.layers.LayerNormalization:
    """Layer norm over the channels, as everywhere in ViT."""
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name, dtype=dtype)


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
