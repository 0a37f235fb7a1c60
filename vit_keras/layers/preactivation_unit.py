"""The residual unit of BiT, with a convolution or attention in its middle."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from vit_keras.layers.axial_attention import AxialAttention, MapAttention
from vit_keras.layers.normalization import group_norm
from vit_keras.layers.resnet_stem import BOTTLENECK
from vit_keras.layers.std_conv import StdConv

Mixer = Literal["conv", "axial", "attention"]
BIT_CONV: dict[str, Any] = {"padding": "fixed", "epsilon_with": "variance"}
CONV_EPSILON = 1e-10  # of the official code; timm and Hugging Face have 1e-8
BIT_NORM_EPSILON = 1e-5
ATTENTION_HEADS = 8  # Axial-DeepLab, section 3; Bottleneck Transformers have 4


@keras.saving.register_keras_serializable("vit_keras")
class PreactivationUnit(keras.layers.Layer):
    """Bottleneck unit with group norm and ReLU before each convolution (ResNetV2).

    Source: BiT, section 3.2, and google-research/big_transfer.

    Args:
        channels: of the middle layer; the output has 4 times as many.
        strides: of the middle layer.
        mixer: the middle layer: "conv", a 3×3 convolution; "axial", attention along columns and
            rows (ViT paper, appendix D.5); "attention", over the whole map (Bottleneck
            Transformers). Attention is followed by average pooling where `strides` is 2.
        conv_epsilon: added to the variance of a convolution's kernel.

    Input: `[batch, height, width, c]`; output: `[batch, height/strides, width/strides,
    4·channels]`.
    """

    def __init__(
        self,
        channels: int,
        strides: int = 1,
        mixer: Mixer = "conv",
        conv_epsilon: float = CONV_EPSILON,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conv_epsilon = conv_epsilon
        self.channels = channels
        self.strides = strides
        self.mixer = mixer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        policy = self.dtype_policy
        out_channels = self.channels * BOTTLENECK
        self.conv1 = StdConv(
            self.channels, 1, **BIT_CONV, epsilon=self.conv_epsilon, name="conv1", dtype=policy
        )
        self.conv2 = self._make_mixer()
        self.conv3 = StdConv(
            out_channels, 1, **BIT_CONV, epsilon=self.conv_epsilon, name="conv3", dtype=policy
        )
        self.project = input_shape[-1] != out_channels or self.strides > 1
        norms = []
        shape = input_shape
        for i, conv in enumerate((self.conv1, self.conv2, self.conv3)):
            norm = group_norm(f"gn{i + 1}", policy, epsilon=BIT_NORM_EPSILON)
            norm.build(shape)
            norms.append(norm)
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            if conv is self.conv2 and self.mixer != "conv":
                shape = self._pooled_shape(shape)
        self.gn1, self.gn2, self.gn3 = norms
        if self.project:
            self.conv_proj = StdConv(
                out_channels,
                1,
                self.strides,
                **BIT_CONV,
                epsilon=self.conv_epsilon,
                name="conv_proj",
                dtype=policy,
            )
            self.conv_proj.build(input_shape)

    def _make_mixer(self) -> keras.layers.Layer:
        policy = self.dtype_policy
        if self.mixer == "conv":
            return StdConv(
                self.channels,
                3,
                self.strides,
                **BIT_CONV,
                epsilon=self.conv_epsilon,
                name="conv2",
                dtype=policy,
            )
        if self.mixer == "axial":
            return AxialAttention(ATTENTION_HEADS, name="axial_attention", dtype=policy)
        if self.mixer == "attention":
            return MapAttention(ATTENTION_HEADS, name="map_attention", dtype=policy)
        raise ValueError(f"mixer must be 'conv', 'axial' or 'attention'; got {self.mixer!r}.")

    def call(self, x: Any) -> Any:
        y = ops.relu(self.gn1(x))
        shortcut = self.conv_proj(y) if self.project else x
        y = self.conv1(y)
        y = self.conv2(ops.relu(self.gn2(y)))
        if self.mixer != "conv" and self.strides > 1:
            y = ops.average_pool(y, self.strides, self.strides, "same", data_format="channels_last")
        return shortcut + self.conv3(ops.relu(self.gn3(y)))

    def _pooled_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        sides = (None if s is None else -(-s // self.strides) for s in shape[1:3])
        return (shape[0], *sides, shape[3])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*self._pooled_shape(input_shape)[:3], self.channels * BOTTLENECK)

    def get_config(self) -> dict[str, Any]:
        config = {
            "channels": self.channels,
            "strides": self.strides,
            "mixer": self.mixer,
            "conv_epsilon": self.conv_epsilon,
        }
        return {**super().get_config(), **config}
