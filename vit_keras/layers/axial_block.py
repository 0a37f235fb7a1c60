"""The block of Axial-ViT."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.layers.encoder_block import EncoderBlock
from vit_keras.layers.noise import fold_in


@keras.saving.register_keras_serializable("vit_keras")
class AxialBlock(keras.layers.Layer):
    """Attention along rows and an MLP, then attention along columns and an MLP.

    Source: ViT paper, appendix D.5: each block of ViT becomes two, with attention over one axis of
    the grid of patches at a time.

    Args:
        grid: rows and columns of patches.
        **block: arguments of the two `EncoderBlock`s.

    Input and output: `[batch, rows·columns, width]`.

    Raises:
        ValueError: another number of tokens.
    """

    def __init__(
        self, grid: tuple[int, int], name: str | None = None, dtype: Any = None, **block: Any
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=block.pop("trainable", True))
        self.grid = (grid[0], grid[1])
        self.block = block
        self.row_block = EncoderBlock(**block, name="row", dtype=self.dtype_policy)
        self.column_block = EncoderBlock(**block, name="column", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rows, columns = self.grid
        if input_shape[1] != rows * columns:
            raise ValueError(
                f"{input_shape[1]} tokens do not fit a grid of {rows}×{columns} patches: there "
                f"must be {rows * columns}."
            )
        self.row_block.build((None, columns, input_shape[-1]))
        self.column_block.build((None, rows, input_shape[-1]))

    def call(self, x: Any, training: bool | None = None, seeds: Any = None) -> Any:
        (rows, columns), width = self.grid, x.shape[-1]
        x = ops.reshape(x, (-1, columns, width))
        x = self.row_block(x, training=training, seeds=_per_line(fold_in(seeds, 0), rows))
        x = ops.transpose(ops.reshape(x, (-1, rows, columns, width)), (0, 2, 1, 3))
        x = ops.reshape(x, (-1, rows, width))
        x = self.column_block(x, training=training, seeds=_per_line(fold_in(seeds, 1), columns))
        x = ops.transpose(ops.reshape(x, (-1, columns, rows, width)), (0, 2, 1, 3))
        return ops.reshape(x, (-1, rows * columns, width))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": list(self.grid), **self.block}


def _per_line(seeds: Any, lines: int) -> Any:
    """A seed per row or column, `[batch·lines]`, from one per image."""
    if seeds is None:
        return None
    return ops.reshape(ops.stack([fold_in(seeds, line) for line in range(lines)], axis=1), (-1,))
