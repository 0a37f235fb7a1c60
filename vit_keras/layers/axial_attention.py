"""Self-attention in place of a 3×3 convolution: along both axes in turn, or over the whole map."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.layers.attention import SelfAttention
from vit_keras.layers.relative_position import RelativePositionEmbedding


@keras.saving.register_keras_serializable("vit_keras")
class AxialAttention(keras.layers.Layer):
    """Self-attention along the columns of a feature map, then along its rows.

    Each has 1-D relative position embeddings. Source: Wang et al., "Axial-DeepLab"; ViT paper,
    appendix D.5 (AxialResNet).

    Args:
        num_heads: heads; must divide the channels.

    Input and output: `[batch, height, width, channels]`. The map's size is fixed when built.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        assert channels is not None
        self.column_attention, self.column_positions = self._line("column", height, channels)
        self.row_attention, self.row_positions = self._line("row", width, channels)

    def _line(self, axis: str, length: int | None, channels: int) -> tuple[Any, Any]:
        attention = SelfAttention(self.num_heads, name=f"{axis}_attention", dtype=self.dtype_policy)
        positions = RelativePositionEmbedding(
            channels // self.num_heads, name=f"{axis}_positions", dtype=self.dtype_policy
        )
        for layer in (attention, positions):
            layer.build((None, length, channels))
        return attention, positions

    def call(self, x: Any) -> Any:
        height, width, channels = x.shape[1:]
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, height, channels))
        x = self.column_attention(x, relative=self.column_positions(x))
        x = ops.transpose(ops.reshape(x, (-1, width, height, channels)), (0, 2, 1, 3))
        x = ops.reshape(x, (-1, width, channels))
        x = self.row_attention(x, relative=self.row_positions(x))
        return ops.reshape(x, (-1, height, width, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable("vit_keras")
class MapAttention(keras.layers.Layer):
    """Self-attention over all positions of a feature map.

    With 1-D relative position embeddings over its positions row by row. Source: Srinivas et al.,
    "Bottleneck Transformers", whose relative embeddings are per row and per column.

    Args:
        num_heads: heads; must divide the channels.

    Input and output: `[batch, height, width, channels]`. The map's size is fixed when built.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.attention = SelfAttention(num_heads, name="attention", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        assert height is not None and width is not None and channels is not None
        shape = (None, height * width, channels)
        self.attention.build(shape)
        self.positions = RelativePositionEmbedding(
            channels // self.num_heads, name="positions", dtype=self.dtype_policy
        )
        self.positions.build(shape)

    def call(self, x: Any) -> Any:
        height, width, channels = x.shape[1:]
        tokens = ops.reshape(x, (-1, height * width, channels))
        tokens = self.attention(tokens, relative=self.positions(tokens))
        return ops.reshape(tokens, (-1, height, width, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}
