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

    def call(self, x: Any, relative: Any = None, only: int | None = None) -> Any:
        """Attend.

        Args:
            x: `[batch, tokens, width]`.
            relative: `[2·tokens - 1, width/num_heads]`, an embedding per offset between two
                tokens, from -(tokens - 1) to tokens - 1, that adds query · embedding to the
                logits; None: none.
            only: the one token whose output is wanted, `[batch, 1, width]`: the others are
                attended to and have no query. None: all. Not together with `relative`.
        """
        query, key, value = self._project(x, only)
        weights = ops.cast(self._softmax(query, key, relative), value.dtype)
        heads = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.out(ops.reshape(heads, (-1, query.shape[2], x.shape[2])))

    def weights_for(self, x: Any, relative: Any = None) -> Any:
        """Attention weights for the input of `call`: `[batch, heads, tokens, tokens]` float32.

        Row i holds what token i takes from each token; rows sum to 1.
        """
        query, key, _ = self._project(x)
        return self._softmax(query, key, relative)

    def _project(self, x: Any, only: int | None = None) -> tuple[Any, Any, Any]:
        """Query (scaled; that of `only`), key, value: `[batch, heads, tokens, width/heads]`."""
        width = x.shape[2]
        if only is None:
            query, key, value = self._split(self.qkv(x), 3)
        else:
            kernel, bias = (ops.cast(w, x.dtype) for w in (self.qkv.kernel, self.qkv.bias))
            one = x[:, only : only + 1]
            (query,) = self._split(ops.matmul(one, kernel[:, :width]) + bias[:width], 1)
            key, value = self._split(ops.matmul(x, kernel[:, width:]) + bias[width:], 2)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        return query * (width // self.num_heads) ** -0.5, key, value

    def _split(self, product: Any, parts: int) -> Any:
        """`[batch, tokens, parts·width]` to so many of `[batch, heads, tokens, width/heads]`."""
        _, tokens, width = product.shape
        head_dim = width // (parts * self.num_heads)
        product = ops.reshape(product, (-1, tokens, parts, self.num_heads, head_dim))
        return ops.unstack(ops.transpose(product, (2, 0, 3, 1, 4)), parts)

    def _softmax(self, query: Any, key: Any, relative: Any) -> Any:
        logits = ops.matmul(query, ops.swapaxes(key, -1, -2))
        if relative is not None:
            logits = logits + relative_logits(query, relative)
        return wide_softmax(logits)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(
        self, x: Any, relative: Any = None, only: int | None = None
    ) -> keras.KerasTensor:
        return tokens_spec(x, only, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "qk_norm": self.qk_norm}


def wide_softmax(logits: Any) -> Any:
    """Softmax over the last axis, in float32 for half-precision logits too."""
    return ops.softmax(ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")))


def tokens_spec(x: Any, only: int | None, dtype: Any) -> keras.KerasTensor:
    """Of as many tokens as `x`, `[batch, tokens, width]`, or of one."""
    return keras.KerasTensor((x.shape[0], x.shape[1] if only is None else 1, x.shape[2]), dtype)


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
