"""The MLP of an encoder block."""

from __future__ import annotations

from typing import Any

import keras

from vit_keras.layers.dropout import Dropout
from vit_keras.layers.gelu import gelu
from vit_keras.layers.noise import fold_in


@keras.saving.register_keras_serializable("vit_keras")
class Mlp(keras.layers.Layer):
    """Two dense layers with a GELU between, dropout after each (ViT paper, section 3.1, eq. 3).

    Kernels start xavier-uniform and biases normal with deviation 1e-6, as in the official code.

    Args:
        hidden_dim: width of the hidden layer.
        dropout_rate: in [0, 1).

    Input and output: `[batch, ..., width]`.
    """

    def __init__(self, hidden_dim: int, dropout_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout_rate
        self.hidden_dropout = Dropout(dropout_rate, name="hidden_dropout", dtype=self.dtype_policy)
        self.output_dropout = Dropout(dropout_rate, name="output_dropout", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.dense_0 = self._dense(self.hidden_dim, "dense_0")
        self.dense_1 = self._dense(input_shape[-1], "dense_1")
        self.dense_0.build(input_shape)
        self.dense_1.build((*input_shape[:-1], self.hidden_dim))

    def _dense(self, units: Any, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.GlorotUniform(),
            bias_initializer=keras.initializers.RandomNormal(stddev=1e-6),
            name=name,
            dtype=self.dtype_policy,
        )

    def call(self, x: Any, training: bool | None = None, seeds: Any = None) -> Any:
        x = gelu(self.dense_0(x))
        x = self.hidden_dropout(x, training=training, seeds=fold_in(seeds, 0))
        return self.output_dropout(self.dense_1(x), training=training, seeds=fold_in(seeds, 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"hidden_dim": self.hidden_dim, "dropout_rate": self.dropout_rate}
        return {**super().get_config(), **config}
