"""The convolutional stem of the hybrids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.layers.normalization import EPSILON, group_norm
from vit_keras.layers.resnet_width import scaled_channels
from vit_keras.layers.std_conv import StdConv

Numerics = Literal["flax", "pytorch"]

# Epsilons of the official code, and of timm's port of it.
_CONV: dict[str, dict[str, Any]] = {
    "flax": {"epsilon": 1e-5, "epsilon_with": "deviation"},
    "pytorch": {"epsilon": 1e-8, "epsilon_with": "variance"},
}
_NORM_EPSILON = {"flax": EPSILON, "pytorch": 1e-5}

BOTTLENECK = 4  # a unit's output has this many times the channels of its 3×3 convolution


@keras.saving.register_keras_serializable("vit_keras")
class ResidualUnit(keras.layers.Layer):
    """Bottleneck unit with the activation after the addition, as in the official hybrids.

    1×1, 3×3 (strided), 1×1 standardized convolutions, each before a group norm; the last norm's
    scale starts at 0, so that the unit starts as its shortcut.

    Source: google-research/vision_transformer, models_resnet.py; ViT paper, section 4.1.

    Args:
        channels: of the 3×3 convolution; the output has 4 times as many.
        strides: of the 3×3 convolution.
        numerics: see `ResNetStem`.

    Input: `[batch, height, width, c]`; output: `[batch, height/strides, width/strides,
    4·channels]`.
    """

    def __init__(
        self, channels: int, strides: int = 1, numerics: Numerics = "flax", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.numerics = numerics
        self.channels = channels
        self.strides = strides

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        policy = self.dtype_policy
        out_channels = self.channels * BOTTLENECK
        options, epsilon = {**_CONV[self.numerics], "dtype": policy}, _NORM_EPSILON[self.numerics]
        self.conv1 = StdConv(self.channels, 1, name="conv1", **options)
        self.conv2 = StdConv(self.channels, 3, self.strides, name="conv2", **options)
        self.conv3 = StdConv(out_channels, 1, name="conv3", **options)
        self.gn1 = group_norm("gn1", policy, epsilon=epsilon)
        self.gn2 = group_norm("gn2", policy, epsilon=epsilon)
        self.gn3 = group_norm("gn3", policy, epsilon=epsilon, zero_scale=True)
        self.project = input_shape[-1] != out_channels or self.strides > 1
        if self.project:
            self.conv_proj = StdConv(out_channels, 1, self.strides, name="conv_proj", **options)
            self.gn_proj = group_norm("gn_proj", policy, epsilon=epsilon)
            self.conv_proj.build(input_shape)
            self.gn_proj.build(self.conv_proj.compute_output_shape(input_shape))
        shape = input_shape
        for conv, norm in ((self.conv1, self.gn1), (self.conv2, self.gn2), (self.conv3, self.gn3)):
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            norm.build(shape)

    def call(self, x: Any) -> Any:
        shortcut = self.gn_proj(self.conv_proj(x)) if self.project else x
        y = ops.relu(self.gn1(self.conv1(x)))
        y = ops.relu(self.gn2(self.conv2(y)))
        return ops.relu(shortcut + self.gn3(self.conv3(y)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        sides = (None if s is None else -(-s // self.strides) for s in input_shape[1:3])
        return (input_shape[0], *sides, self.channels * BOTTLENECK)

    def get_config(self) -> dict[str, Any]:
        config = {"channels": self.channels, "strides": self.strides, "numerics": self.numerics}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("vit_keras")
class ResNetStem(keras.layers.Layer):
    """ResNet without its head: a 7×7 convolution, max pooling, and stages of residual units.

    Source: ViT paper, section 4.1 "Hybrids"; google-research/vision_transformer, models_resnet.py.

    Args:
        units: units per stage, such as (3, 4, 9); () is the root alone.
        width_factor: multiplies all channels.
        numerics: "flax": a kernel's epsilon is 1e-5, with its deviation, and a norm's 1e-6, as in
            the official code; "pytorch": 1e-8, with its variance, and 1e-5, as in timm.

    Input: `[batch, height, width, 3]`; output: a feature map that is 4 times smaller (rounded up)
    per side for up to one stage, and half of that for each stage more.

    Raises:
        ValueError: the channels are no multiple of group norm's groups; unknown numerics.
    """

    def __init__(
        self,
        units: Sequence[int],
        width_factor: float = 1,
        numerics: Numerics = "flax",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if numerics not in _CONV:
            raise ValueError(f"numerics must be one of {', '.join(_CONV)}; got {numerics!r}.")
        self.units = tuple(units)
        self.numerics = numerics
        self.width_factor = width_factor
        self.channels = scaled_channels(width_factor)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        policy = self.dtype_policy
        self.conv_root = StdConv(
            self.channels, 7, 2, **_CONV[self.numerics], name="conv_root", dtype=policy
        )
        self.gn_root = group_norm("gn_root", policy, epsilon=_NORM_EPSILON[self.numerics])
        self.conv_root.build(input_shape)
        shape = self.conv_root.compute_output_shape(input_shape)
        self.gn_root.build(shape)
        shape = halved(shape)
        self.residual_units = []
        for stage, count in enumerate(self.units):
            for unit in range(count):
                layer = ResidualUnit(
                    self.channels * 2**stage,
                    strides=2 if stage > 0 and unit == 0 else 1,
                    numerics=self.numerics,
                    name=f"block{stage + 1}_unit{unit + 1}",
                    dtype=policy,
                )
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
                self.residual_units.append(layer)

    def call(self, images: Any) -> Any:
        x = ops.relu(self.gn_root(self.conv_root(images)))
        x = ops.max_pool(x, 3, 2, "same", data_format="channels_last")
        for unit in self.residual_units:
            x = unit(x)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        shape = input_shape
        for _ in range(num_halvings(self.units)):
            shape = halved(shape)
        widest = 2 ** (len(self.units) - 1) * BOTTLENECK if self.units else 1
        return (*shape[:3], self.channels * widest)

    def get_config(self) -> dict[str, Any]:
        config = {
            "units": list(self.units),
            "width_factor": self.width_factor,
            "numerics": self.numerics,
        }
        return {**super().get_config(), **config}


def num_halvings(units: Sequence[int]) -> int:
    """How often a stem of `units` per stage halves each side: twice in its root, then per stage."""
    return 2 + max(0, len(units) - 1)


def halved(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Shape of a feature map `[batch, height, width, channels]` after a layer of stride 2."""
    sides = (None if s is None else -(-s // 2) for s in shape[1:3])
    return (shape[0], *sides, shape[3])
