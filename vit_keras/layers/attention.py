"""Multi-head self-attention."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from vit_keras.layers.normalization import EPSILON, Norm, token_norm
from vit_keras.layers.relative_position import relative_logits
from vit_keras.layers.rotary import Rope, rotate


@keras.saving.register_keras_serializable("vit_keras")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention (ViT paper, appendix A, eqs. 5 to 8).

    Query, key and value are one matrix product: on CPU it is faster than three of a third of the
    width. Its kernel is `[width, 3·width]`, the three parts side by side, each with heads in order.

    Args:
        num_heads: heads; must divide the width.
        qk_norm: norm over each head's query and key ("Scaling Vision Transformers to 22 Billion
            Parameters", section 2).
        qkv_bias: whether query, key and value have a bias.
        out_bias: whether the output's projection has one.
        inner_norm: norm before the output's projection (sub-LN; BEiT-3).
        norm: "layer_norm" or "rms_norm", of those norms.
        norm_epsilon: their epsilon.
        rope: the pairs of channels that a call's `rotation` turns: None, "normalized" or "grid", as
            in `rotary_table`.

    Input and output: `[batch, tokens, width]`.

    Raises:
        ValueError: the width is no multiple of `num_heads`.
    """

    def __init__(
        self,
        num_heads: int,
        qk_norm: bool = False,
        qkv_bias: bool = True,
        out_bias: bool = True,
        inner_norm: bool = False,
        norm: Norm = "layer_norm",
        norm_epsilon: float = EPSILON,
        rope: Rope | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qk_norm = qk_norm
        self.qkv_bias = qkv_bias
        self.out_bias = out_bias
        self.inner_norm = inner_norm
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.rope = rope

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width = input_shape[-1]
        assert width is not None
        check_heads(width, self.num_heads)
        # Xavier-uniform for each of the three [width, width] parts, not for the whole.
        limit = math.sqrt(6 / (width + width))
        self.qkv = keras.layers.Dense(
            3 * width,
            use_bias=self.qkv_bias,
            kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
            name="qkv",
            dtype=self.dtype_policy,
        )
        self.out = keras.layers.Dense(
            width, use_bias=self.out_bias, name="out", dtype=self.dtype_policy
        )
        self.qkv.build(input_shape)
        self.out.build(input_shape)
        if self.qk_norm:
            self.query_norm, self.key_norm = self._norm("query_norm"), self._norm("key_norm")
            for norm in (self.query_norm, self.key_norm):
                norm.build((None, self.num_heads, None, width // self.num_heads))
        if self.inner_norm:
            self.mixed_norm = self._norm("mixed_norm")
            self.mixed_norm.build(input_shape)

    def _norm(self, name: str) -> keras.layers.Layer:
        return token_norm(name, self.dtype_policy, self.norm, self.norm_epsilon)

    def call(
        self, x: Any, relative: Any = None, only: int | None = None, rotation: Any = None
    ) -> Any:
        """Attend.

        Args:
            x: `[batch, tokens, width]`.
            relative: `[2·tokens - 1, width/num_heads]`, an embedding per offset between two
                tokens, from -(tokens - 1) to tokens - 1, that adds query · embedding to the
                logits; None: none.
            only: the one token whose output is wanted, `[batch, 1, width]`: the others are
                attended to and have no query. None: all. Not together with `relative`.
            rotation: `[2, tokens, width/num_heads]`, the table of `rotary_table`; None: none.
        """
        query, key, value = self._project(x, only, rotation)
        weights = ops.cast(self._softmax(query, key, relative), value.dtype)
        heads = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        mixed = ops.reshape(heads, (-1, query.shape[2], x.shape[2]))
        return self.out(self.mixed_norm(mixed) if self.inner_norm else mixed)

    def weights_for(self, x: Any, relative: Any = None, rotation: Any = None) -> Any:
        """Attention weights for the input of `call`: `[batch, heads, tokens, tokens]` float32.

        Row i holds what token i takes from each token; rows sum to 1.
        """
        query, key, _ = self._project(x, None, rotation)
        return self._softmax(query, key, relative)

    def _project(self, x: Any, only: int | None, rotation: Any) -> tuple[Any, Any, Any]:
        """Query (scaled; that of `only`), key, value: `[batch, heads, tokens, width/heads]`."""
        width = x.shape[2]
        if only is None:
            query, key, value = self._split(self.qkv(x), 3)
        else:
            kernel = ops.cast(self.qkv.kernel, x.dtype)
            one = ops.matmul(x[:, only : only + 1], kernel[:, :width])
            rest = ops.matmul(x, kernel[:, width:])
            if self.qkv_bias:
                bias = ops.cast(self.qkv.bias, x.dtype)
                one, rest = one + bias[:width], rest + bias[width:]
            (query,), (key, value) = self._split(one, 1), self._split(rest, 2)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if rotation is not None:
            neighbors = self.rope == "grid"
            of_query = rotation if only is None else rotation[:, only : only + 1]
            query, key = rotate(query, of_query, neighbors), rotate(key, rotation, neighbors)
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
        self, x: Any, relative: Any = None, only: int | None = None, rotation: Any = None
    ) -> keras.KerasTensor:
        return tokens_spec(x, only, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        config = {
            "num_heads": self.num_heads,
            "qk_norm": self.qk_norm,
            "qkv_bias": self.qkv_bias,
            "out_bias": self.out_bias,
            "inner_norm": self.inner_norm,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "rope": self.rope,
        }
        return {**super().get_config(), **config}


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
