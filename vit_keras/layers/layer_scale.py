"""LayerScale."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("vit_keras")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a learned factor that starts small.

    Source: Touvron et al., "Going deeper with Image Transformers", section 2.

    Args:
        initial_value: of every factor, such as 1e-5.

    Input and output: `[batch, ..., width]`.
    """

    def __init__(self, initial_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_value),
            name="gamma",
        )

    def call(self, x: Any) -> Any:
        return x * ops.cast(self.gamma, x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_value": self.initial_value}
