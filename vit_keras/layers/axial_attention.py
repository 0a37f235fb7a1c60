"""Self-attention in place of a 3×3 convolution: along both axes in turn, or over the whole map."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.layers.attention import SelfAttention
from vit_keras.layers.relative_position import RelativePositionEmbedding


class _MapMixer(keras.layers.Layer):
    """Takes a feature map and gives one of the same shape."""

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def attention_layers(self, prefix: str, tokens: int, channels: int) -> tuple[Any, Any]:
        """Self-attention over so many tokens, and its relative position embeddings; built."""
        attention = SelfAttention(
            self.num_heads, name=f"{prefix}attention", dtype=self.dtype_policy
        )
        positions = RelativePositionEmbedding(
            channels // self.num_heads, name=f"{prefix}positions", dtype=self.dtype_policy
        )
        for layer in (attention, positions):
            layer.build((None, tokens, channels))
        return attention, positions

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable("vit_keras")
class AxialAttention(_MapMixer):
    """Self-attention along the columns of a feature map, then along its rows.

    Each has 1-D relative position embeddings. Source: Wang et al., "Axial-DeepLab"; ViT paper,
    appendix D.5 (AxialResNet).

    Args:
        num_heads: heads; must divide the channels.

    Input and output: `[batch, height, width, channels]`. The map's size is fixed when built.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        assert height is not None and width is not None and channels is not None
        self.column_attention, self.column_positions = self.attention_layers(
            "column_", height, channels
        )
        self.row_attention, self.row_positions = self.attention_layers("row_", width, channels)

    def call(self, x: Any) -> Any:
        height, width, channels = x.shape[1:]
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, height, channels))
        x = self.column_attention(x, relative=self.column_positions(x))
        x = ops.transpose(ops.reshape(x, (-1, width, height, channels)), (0, 2, 1, 3))
        x = ops.reshape(x, (-1, width, channels))
        x = self.row_attention(x, relative=self.row_positions(x))
        return ops.reshape(x, (-1, height, width, channels))


@keras.saving.register_keras_serializable("vit_keras")
class MapAttention(_MapMixer):
    """Self-attention over all positions of a feature map.

    With 1-D relative position embeddings over its positions row by row. Source: Srinivas et al.,
    "Bottleneck Transformers", whose relative embeddings are per row and per column.

    Args:
        num_heads: heads; must divide the channels.

    Input and output: `[batch, height, width, channels]`. The map's size is fixed when built.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        assert height is not None and width is not None and channels is not None
        self.attention, self.positions = self.attention_layers("", height * width, channels)

    def call(self, x: Any) -> Any:
        height, width, channels = x.shape[1:]
        tokens = ops.reshape(x, (-1, height * width, channels))
        tokens = self.attention(tokens, relative=self.positions(tokens))
        return ops.reshape(tokens, (-1, height, width, channels))
