"""Multi-head self-attention."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from vit_keras.layers.normalization import layer_norm
from vit_keras.layers.relative_position import relative_logits


@keras.saving.register_keras_serializable("vit_keras")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention (ViT paper, appendix A, eqs. 5 to 8).

    Query, key and value are one matrix product: on CPU it is faster than three of a third of the
    width. Its kernel is `[width, 3·width]`, the three parts side by side, each with heads in order.

    Args:
        num_heads: heads; must divide the width.
        qk_norm: layer norm over each head's query and key ("Scaling Vision Transformers to 22
            Billion Parameters", section 2).

    Input and output: `[batch, tokens, width]`.

    Raises:
        ValueError: the width is no multiple of `num_heads`.
    """

    def __init__(self, num_heads: int, qk_norm: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qk_norm = qk_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width = input_shape[-1]
        assert width is not None
        check_heads(width, self.num_heads)
        # Xavier-uniform for each of the three [width, width] parts, not for the whole.
        limit = math.sqrt(6 / (width + width))
        self.qkv = keras.layers.Dense(
            3 * width,
            kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
            name="qkv",
            dtype=self.dtype_policy,
        )
        self.out = keras.layers.Dense(width, name="out", dtype=self.dtype_policy)
        self.qkv.build(input_shape)
        self.out.build(input_shape)
        if self.qk_norm:
            self.query_norm = layer_norm("query_norm", self.dtype_policy)
            self.key_norm = layer_norm("key_norm", self.dtype_policy)
            for norm in (self.query_norm, self.key_norm):
                norm.build((None, self.num_heads, None, width // self.num_heads))

    def call(self, x: Any, relative: Any = None) -> Any:
        """Attend.

        Args:
            x: `[batch, tokens, width]`.
            relative: `[2·tokens - 1, width/num_heads]`, an embedding per offset between two
                tokens, from -(tokens - 1) to tokens - 1, that adds query · embedding to the
                logits; None: none.
        """
        query, key, value = self._project(x)
        weights = ops.cast(self._softmax(query, key, relative), value.dtype)
        heads = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.out(ops.reshape(heads, (-1, *x.shape[1:])))

    def weights_for(self, x: Any, relative: Any = None) -> Any:
        """Attention weights for the input of `call`: `[batch, heads, tokens, tokens]` float32.

        Row i holds what token i takes from each token; rows sum to 1.
        """
        query, key, _ = self._project(x)
        return self._softmax(query, key, relative)

    def _project(self, x: Any) -> tuple[Any, Any, Any]:
        """Query (scaled), key, value: `[batch, heads, tokens, width/heads]`."""
        tokens, width = x.shape[1:]
        head_dim = width // self.num_heads
        qkv = ops.reshape(self.qkv(x), (-1, tokens, 3, self.num_heads, head_dim))
        query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        return query * head_dim**-0.5, key, value

    def _softmax(self, query: Any, key: Any, relative: Any) -> Any:
        logits = ops.matmul(query, ops.swapaxes(key, -1, -2))
        if relative is not None:
            logits = logits + relative_logits(query, relative)
        return wide_softmax(logits)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "qk_norm": self.qk_norm}


def wide_softmax(logits: Any) -> Any:
    """Softmax over the last axis, in float32 for half-precision logits too."""
    return ops.softmax(ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")))


def check_heads(width: int, num_heads: int) -> None:
    """Raise a ValueError, with the nearest valid width, unless `num_heads` divides `width`."""
    if num_heads < 1:
        raise ValueError(f"num_heads must be at least 1; got {num_heads}.")
    if width % num_heads:
        nearest = max(1, round(width / num_heads)) * num_heads
        raise ValueError(
            f"width {width} is not a multiple of num_heads {num_heads}; the nearest that is: "
            f"{nearest}."
        )
