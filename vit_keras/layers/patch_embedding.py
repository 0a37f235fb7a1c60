"""From pixels to a grid of patch embeddings."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("vit_keras")
class PatchEmbedding(keras.layers.Layer):
    """Cuts an image (or feature map) into patches and maps each linearly to `width` channels.

    The same as a convolution with kernel and stride of one patch (ViT paper, section 3.1, eq. 1),
    and its kernel has a convolution's shape, as in the official checkpoints.

    Args:
        patch_size: side of a patch, in pixels of the input.
        width: channels of a patch embedding.
        use_bias: whether a bias is added (CLIP has none).

    Input: `[batch, height, width, channels]`; output: `[batch, rows, columns, width]`.

    Raises:
        ValueError: the input's height or width is no multiple of `patch_size`.
    """

    def __init__(self, patch_size: int, width: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.patch_size = patch_size
        self.width = width

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        patch_grid(input_shape[1:3], self.patch_size)
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(self.patch_size, self.patch_size, channels, self.width),
            initializer=keras.initializers.LecunNormal(),
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.width,), initializer="zeros", name="bias")

    def call(self, images: Any) -> Any:
        rows, columns = patch_grid(images.shape[1:3], self.patch_size)
        patch, channels = self.patch_size, images.shape[-1]
        # One matrix product over flattened patches: measured faster than a strided convolution.
        # The channels share an axis with a patch's columns: alone, a TPU pads them to 128.
        x = ops.reshape(images, (-1, rows, patch, columns, patch * channels))
        x = ops.reshape(
            ops.transpose(x, (0, 1, 3, 2, 4)), (-1, rows, columns, patch * patch * channels)
        )
        kernel = ops.reshape(self.kernel, (-1, self.width))
        x = ops.matmul(x, kernel)
        return x + self.bias if self.use_bias else x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *patch_grid(input_shape[1:3], self.patch_size), self.width)

    def get_config(self) -> dict[str, Any]:
        config = {
            "patch_size": self.patch_size,
            "width": self.width,
            "use_bias": self.use_bias,
        }
        return {**super().get_config(), **config}


def patch_grid(size: tuple[int | None, ...], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of `size` (height, width) pixels.

    Raises:
        ValueError: a side is no multiple of `patch_size`; the message gives the nearest that is.
    """
    if any(side is None or side <= 0 or side % patch_size for side in size):
        nearest = tuple(
            max(1, round((side or patch_size) / patch_size)) * patch_size for side in size
        )
        raise ValueError(
            f"image size {tuple(size)} is not a multiple of the patch size {patch_size}; the "
            f"nearest that is: {nearest}."
        )
    height, width = size
    assert height is not None and width is not None
    return height // patch_size, width // patch_size
