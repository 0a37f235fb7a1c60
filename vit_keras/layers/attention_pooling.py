"""Pooling by attention: the MAP head."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from vit_keras.layers.activation import Activation
from vit_keras.layers.attention import check_heads, wide_softmax
from vit_keras.layers.mlp import Mlp
from vit_keras.layers.normalization import EPSILON, Norm, token_norm


@keras.saving.register_keras_serializable("vit_keras")
class AttentionPooling(keras.layers.Layer):
    """A learned probe attends to all tokens; then a layer norm and an MLP around a residual.

    Source: "Scaling Vision Transformers", section 3.2 (MAP); google-research/big_vision,
    models/vit.py.

    Args:
        mlp_dim: hidden width of the MLP.
        num_heads: attention heads; must divide the width.
        activation: of the MLP; see `Mlp`.
        norm: "layer_norm" or "rms_norm".
        norm_epsilon: its epsilon.

    Input: `[batch, tokens, width]`; output: `[batch, width]`.
    """

    def __init__(
        self,
        mlp_dim: int,
        num_heads: int,
        activation: Activation = "gelu_tanh",
        norm: Norm = "layer_norm",
        norm_epsilon: float = EPSILON,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlp_dim = mlp_dim
        self.num_heads = num_heads
        self.activation = activation
        self.norm_kind = norm
        self.norm_epsilon = norm_epsilon
        self.norm = token_norm("norm", self.dtype_policy, norm, norm_epsilon)
        self.mlp = Mlp(mlp_dim, activation=activation, name="mlp", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width = input_shape[-1]
        assert width is not None
        check_heads(width, self.num_heads)
        self.probe = self.add_weight(
            shape=(1, 1, width), initializer=keras.initializers.GlorotUniform(), name="probe"
        )
        shape = (None, width)
        limit = math.sqrt(6 / (width + width))  # xavier-uniform for each of key and value
        self.query = keras.layers.Dense(width, name="query", dtype=self.dtype_policy)
        self.key_value = keras.layers.Dense(
            2 * width,
            kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
            name="key_value",
            dtype=self.dtype_policy,
        )
        self.out = keras.layers.Dense(width, name="out", dtype=self.dtype_policy)
        for layer in (self.query, self.key_value, self.out):
            layer.build(shape)
        self.norm.build(shape)
        self.mlp.build(shape)

    def call(self, x: Any) -> Any:
        tokens, width = x.shape[1:]
        head_dim = width // self.num_heads
        query = ops.reshape(
            self.query(ops.cast(self.probe, x.dtype)) * head_dim**-0.5, (self.num_heads, head_dim)
        )
        key_value = ops.reshape(self.key_value(x), (-1, tokens, 2, self.num_heads, head_dim))
        key, value = ops.unstack(key_value, 2, axis=2)
        weights = wide_softmax(ops.einsum("hd,bthd->bht", query, key))
        weights = ops.cast(weights, value.dtype)
        pooled = ops.einsum("bht,bthd->bhd", weights, value)
        pooled = self.out(ops.reshape(pooled, (-1, width)))
        return pooled + self.mlp(self.norm(pooled))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        config = {
            "mlp_dim": self.mlp_dim,
            "num_heads": self.num_heads,
            "activation": self.activation,
            "norm": self.norm_kind,
            "norm_epsilon": self.norm_epsilon,
        }
        return {**super().get_config(), **config}
