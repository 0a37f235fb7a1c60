"""The pre-norm Transformer block."""

from __future__ import annotations

from typing import Any

import keras

from vit_keras.layers.activation import Activation
from vit_keras.layers.attention import SelfAttention, tokens_spec
from vit_keras.layers.dropout import Dropout, StochasticDepth
from vit_keras.layers.layer_scale import LayerScale
from vit_keras.layers.mlp import Mlp
from vit_keras.layers.noise import fold_in
from vit_keras.layers.normalization import EPSILON, Norm, token_norm
from vit_keras.layers.rotary import Rope


@keras.saving.register_keras_serializable("vit_keras")
class EncoderBlock(keras.layers.Layer):
    """Attention and MLP, each behind a layer norm and around a residual (ViT paper, eqs. 2 and 3).

    Args:
        mlp_dim: hidden width of the MLP.
        num_heads: attention heads; must divide the width.
        dropout_rate: after the attention's projection and after both layers of the MLP.
        stochastic_depth_rate: probability that a residual branch is left out while training.
        layer_scale_init: initial value of LayerScale on both branches; None: no LayerScale.
        qk_norm: norm over each head's query and key.
        activation: of the MLP; see `Mlp`.
        gated_mlp: whether the MLP is gated; see `Mlp`.
        qkv_bias: whether query, key and value have a bias.
        use_bias: whether the attention's projection and the MLP have one.
        attention_inner_norm: norm before the attention's projection.
        mlp_inner_norm: norm of the MLP's hidden layer.
        norm: "layer_norm" or "rms_norm", of all norms.
        norm_epsilon: their epsilon.
        residual_post_norm: norm at the end of each residual branch instead of at its start (Swin
            V2, section 3.2).
        rope: see `SelfAttention`.

    Input and output: `[batch, tokens, width]`.
    """

    def __init__(
        self,
        mlp_dim: int,
        num_heads: int,
        dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        layer_scale_init: float | None = None,
        qk_norm: bool = False,
        activation: Activation = "gelu_tanh",
        gated_mlp: bool = False,
        qkv_bias: bool = True,
        use_bias: bool = True,
        attention_inner_norm: bool = False,
        mlp_inner_norm: bool = False,
        norm: Norm = "layer_norm",
        norm_epsilon: float = EPSILON,
        residual_post_norm: bool = False,
        rope: Rope | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlp_dim = mlp_dim
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.layer_scale_init = layer_scale_init
        self.qk_norm = qk_norm
        self.activation = activation
        self.gated_mlp = gated_mlp
        self.qkv_bias = qkv_bias
        self.use_bias = use_bias
        self.attention_inner_norm = attention_inner_norm
        self.mlp_inner_norm = mlp_inner_norm
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.residual_post_norm = residual_post_norm
        self.rope = rope
        policy = self.dtype_policy
        norms: dict[str, Any] = {"norm": norm, "norm_epsilon": norm_epsilon}
        self.attention_norm = token_norm("attention_norm", policy, norm, norm_epsilon)
        self.attention = SelfAttention(
            num_heads,
            qk_norm,
            qkv_bias=qkv_bias,
            out_bias=use_bias,
            inner_norm=attention_inner_norm,
            rope=rope,
            **norms,
            name="attention",
            dtype=policy,
        )
        self.attention_dropout = Dropout(dropout_rate, name="attention_dropout", dtype=policy)
        self.mlp_norm = token_norm("mlp_norm", policy, norm, norm_epsilon)
        self.mlp = Mlp(
            mlp_dim,
            dropout_rate,
            activation=activation,
            gated=gated_mlp,
            use_bias=use_bias,
            inner_norm=mlp_inner_norm,
            **norms,
            name="mlp",
            dtype=policy,
        )
        self.stochastic_depth = StochasticDepth(
            stochastic_depth_rate, name="stochastic_depth", dtype=policy
        )
        if layer_scale_init is not None:
            self.attention_scale = LayerScale(
                layer_scale_init, name="attention_scale", dtype=policy
            )
            self.mlp_scale = LayerScale(layer_scale_init, name="mlp_scale", dtype=policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        layers = [self.attention_norm, self.attention, self.mlp_norm, self.mlp]
        if self.layer_scale_init is not None:
            layers += [self.attention_scale, self.mlp_scale]
        for layer in layers:
            layer.build(input_shape)

    def call(
        self,
        x: Any,
        training: bool | None = None,
        seeds: Any = None,
        relative: Any = None,
        only: int | None = None,
        rotation: Any = None,
    ) -> Any:
        """Run the block.

        Args:
            x: `[batch, tokens, width]`.
            training: whether dropout and stochastic depth are on.
            seeds: `[batch]` int32; needed while training, unless nothing is dropped.
            relative: embeddings of relative positions, as `SelfAttention.call` takes them.
            only: the one token whose output is wanted, `[batch, 1, width]`; None: all.
            rotation: table of `rotary_table`; None: none.
        """
        options = {"relative": relative, "only": only, "rotation": rotation}
        if self.residual_post_norm:
            y = self.attention_norm(self.attention(x, **options))
        else:
            y = self.attention(self.attention_norm(x), **options)
        if only is not None:
            x = x[:, only : only + 1]
        y = self.attention_dropout(y, training=training, seeds=fold_in(seeds, 0))
        if self.layer_scale_init is not None:
            y = self.attention_scale(y)
        x = x + self.stochastic_depth(y, training=training, seeds=fold_in(seeds, 1))
        y = x if self.residual_post_norm else self.mlp_norm(x)
        y = self.mlp(y, training=training, seeds=fold_in(seeds, 2))
        if self.residual_post_norm:
            y = self.mlp_norm(y)
        if self.layer_scale_init is not None:
            y = self.mlp_scale(y)
        return x + self.stochastic_depth(y, training=training, seeds=fold_in(seeds, 3))

    def attention_weights(self, x: Any, relative: Any = None, rotation: Any = None) -> Any:
        """`[batch, heads, tokens, tokens]` float32 for the input of `call`."""
        x = x if self.residual_post_norm else self.attention_norm(x)
        return self.attention.weights_for(x, relative, rotation)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(
        self,
        x: Any,
        training: bool | None = None,
        seeds: Any = None,
        relative: Any = None,
        only: int | None = None,
        rotation: Any = None,
    ) -> keras.KerasTensor:
        return tokens_spec(x, only, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        config = {
            "mlp_dim": self.mlp_dim,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "layer_scale_init": self.layer_scale_init,
            "qk_norm": self.qk_norm,
            "activation": self.activation,
            "gated_mlp": self.gated_mlp,
            "qkv_bias": self.qkv_bias,
            "use_bias": self.use_bias,
            "attention_inner_norm": self.attention_inner_norm,
            "mlp_inner_norm": self.mlp_inner_norm,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "residual_post_norm": self.residual_post_norm,
            "rope": self.rope,
        }
        return {**super().get_config(), **config}
