"""Learned tokens that stand before the patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("vit_keras")
class PrependTokens(keras.layers.Layer):
    """Puts `count` learned tokens before the others.

    With one token that starts at zero: the class token (ViT paper, section 3.1; zeros as in the
    official code). With several: register tokens ("Vision Transformers Need Registers").

    Args:
        count: how many.
        initial_stddev: deviation of the normal distribution they start from; 0: zeros.

    Input: `[batch, tokens, width]`; output: `[batch, count + tokens, width]`.
    """

    def __init__(self, count: int = 1, initial_stddev: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        self.initial_stddev = initial_stddev

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.tokens = self.add_weight(
            shape=(1, self.count, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=self.initial_stddev)
            if self.initial_stddev
            else "zeros",
            name="tokens",
        )

    def call(self, x: Any) -> Any:
        tokens = ops.broadcast_to(
            ops.cast(self.tokens, x.dtype), (ops.shape(x)[0], self.count, x.shape[-1])
        )
        return ops.concatenate([tokens, x], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, tokens, width = input_shape
        return (batch, None if tokens is None else tokens + self.count, width)

    def get_config(self) -> dict[str, Any]:
        config = {"count": self.count, "initial_stddev": self.initial_stddev}
        return {**super().get_config(), **config}
