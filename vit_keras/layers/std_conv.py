"""Convolution with weight standardization."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable("vit_keras")
class StdConv(keras.layers.Layer):
    """2-D convolution, without bias, whose kernel is standardized per output channel.

    Source: Qiao et al., "Weight Standardization"; BiT, section 3.2.

    Args:
        filters: output channels.
        kernel_size: side of the kernel.
        strides: step in both directions.
        padding: "same": as TensorFlow's SAME, which at an even size pads less before than after;
            "fixed": (kernel_size - 1) // 2 before, the rest after, as in BiT.
        epsilon: keeps the division finite.
        epsilon_with: what epsilon is added to: the standard "deviation" (hybrids) or the
            "variance" (BiT).

    Input: `[batch, height, width, channels]`; output: `[batch, rows, columns, filters]`.

    Raises:
        ValueError: an unknown padding or epsilon_with.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        padding: Literal["same", "fixed"] = "same",
        epsilon: float = 1e-5,
        epsilon_with: Literal["deviation", "variance"] = "deviation",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding not in ("same", "fixed"):
            raise ValueError(f"padding must be 'same' or 'fixed'; got {padding!r}.")
        if epsilon_with not in ("deviation", "variance"):
            raise ValueError(
                f"epsilon_with must be 'deviation' or 'variance'; got {epsilon_with!r}."
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.epsilon = epsilon
        self.epsilon_with = epsilon_with

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=keras.initializers.LecunNormal(),
            autocast=False,  # half precision only after its statistics are taken
            name="kernel",
        )

    def call(self, x: Any) -> Any:
        kernel = ops.cast(self.standardized_kernel(), x.dtype)
        if self.padding == "fixed":
            x = pad_fixed(x, self.kernel_size)
            return ops.conv(x, kernel, self.strides, "valid", data_format="channels_last")
        return ops.conv(x, kernel, self.strides, "same", data_format="channels_last")

    def standardized_kernel(self) -> Any:
        """The kernel less its mean, over its deviation, per output channel."""
        kernel = ops.convert_to_tensor(self.kernel)
        mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
        if self.epsilon_with == "variance":
            return (kernel - mean) * ops.rsqrt(variance + self.epsilon)
        return (kernel - mean) / (ops.sqrt(variance) + self.epsilon)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        sides = (None if s is None else -(-s // self.strides) for s in input_shape[1:3])
        return (input_shape[0], *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "epsilon": self.epsilon,
            "epsilon_with": self.epsilon_with,
        }
        return {**super().get_config(), **config}


def pad_fixed(x: Any, kernel_size: int) -> Any:
    """Zeros around `[batch, height, width, channels]`, independent of its size."""
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    return ops.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
