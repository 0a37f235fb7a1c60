"""The MLP of an encoder block."""

from __future__ import annotations

from typing import Any

import keras

from vit_keras.layers.activation import ACTIVATIONS, Activation, check_activation
from vit_keras.layers.dropout import Dropout
from vit_keras.layers.noise import fold_in
from vit_keras.layers.normalization import EPSILON, Norm, token_norm


@keras.saving.register_keras_serializable("vit_keras")
class Mlp(keras.layers.Layer):
    """Two dense layers with a GELU between, dropout after each (ViT paper, section 3.1, eq. 3).

    Kernels start xavier-uniform and biases normal with deviation 1e-6, as in the official code.

    Args:
        hidden_dim: width of the hidden layer.
        dropout_rate: in [0, 1).
        activation: "gelu_tanh" (official code), "gelu" (timm, Hugging Face), "quick_gelu" (CLIP) or
            "silu".
        gated: the first layer is twice as wide, and its second half is multiplied by the
            activation of its first: SwiGLU with "silu" (Shazeer, "GLU Variants Improve
            Transformer").
        use_bias: whether both layers have a bias.
        inner_norm: norm of the hidden layer before the second dense layer (sub-LN; EVA-02).
        norm: "layer_norm" or "rms_norm", of that norm.
        norm_epsilon: its epsilon.

    Input and output: `[batch, ..., width]`.

    Raises:
        ValueError: an unknown activation.
    """

    def __init__(
        self,
        hidden_dim: int,
        dropout_rate: float = 0.0,
        activation: Activation = "gelu_tanh",
        gated: bool = False,
        use_bias: bool = True,
        inner_norm: bool = False,
        norm: Norm = "layer_norm",
        norm_epsilon: float = EPSILON,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_activation(activation)
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout_rate
        self.activation = activation
        self.gated = gated
        self.use_bias = use_bias
        self.inner_norm = inner_norm
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.hidden_dropout = Dropout(dropout_rate, name="hidden_dropout", dtype=self.dtype_policy)
        self.output_dropout = Dropout(dropout_rate, name="output_dropout", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.dense_0 = self._dense(self.hidden_dim * (1 + self.gated), "dense_0")
        self.dense_1 = self._dense(input_shape[-1], "dense_1")
        self.dense_0.build(input_shape)
        hidden_shape = (*input_shape[:-1], self.hidden_dim)
        self.dense_1.build(hidden_shape)
        if self.inner_norm:
            self.hidden_norm = token_norm(
                "hidden_norm", self.dtype_policy, self.norm, self.norm_epsilon
            )
            self.hidden_norm.build(hidden_shape)

    def _dense(self, units: Any, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.GlorotUniform(),
            bias_initializer=keras.initializers.RandomNormal(stddev=1e-6),
            name=name,
            dtype=self.dtype_policy,
        )

    def call(self, x: Any, training: bool | None = None, seeds: Any = None) -> Any:
        x = self.dense_0(x)
        activate = ACTIVATIONS[self.activation]
        if self.gated:
            x = activate(x[..., : self.hidden_dim]) * x[..., self.hidden_dim :]
        else:
            x = activate(x)
        x = self.hidden_dropout(x, training=training, seeds=fold_in(seeds, 0))
        if self.inner_norm:
            x = self.hidden_norm(x)
        return self.output_dropout(self.dense_1(x), training=training, seeds=fold_in(seeds, 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {
            "hidden_dim": self.hidden_dim,
            "dropout_rate": self.dropout_rate,
            "activation": self.activation,
            "gated": self.gated,
            "use_bias": self.use_bias,
            "inner_norm": self.inner_norm,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
        }
        return {**super().get_config(), **config}
