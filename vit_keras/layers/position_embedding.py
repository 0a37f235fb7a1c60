"""Position embeddings that are added to tokens: learned 1-D, learned 2-D, fixed sine-cosine."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class _PositionEmbedding(keras.layers.Layer):
    """Adds a vector per token; the first `skip` tokens (registers, class token) get none.

    Args:
        grid: rows and columns of patches.
        skip: tokens before those that have a position.

    Input and output: `[batch, tokens, width]`.

    Raises:
        ValueError: another number of tokens than the grid and the skipped ones have.
    """

    num_extra_tokens: tuple[int, ...] = (0,)
    """How many tokens with a position may stand before the grid's."""

    def __init__(self, grid: tuple[int, int], skip: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = (grid[0], grid[1])
        self.skip = skip

    def check_tokens(self, tokens: int | None) -> None:
        """Raise a ValueError unless the grid has so many tokens."""
        rows, columns = self.grid
        allowed = [self.skip + extra + rows * columns for extra in self.num_extra_tokens]
        if tokens not in allowed:
            raise ValueError(
                f"{tokens} tokens do not fit a grid of {rows}×{columns} patches with {self.skip} "
                f"tokens before it: there must be {' or '.join(map(str, allowed))}."
            )

    def table(self) -> Any:
        """The vectors, `[tokens - skip, width]` float32."""
        raise NotImplementedError

    def call(self, x: Any) -> Any:
        table = ops.pad(ops.cast(self.table(), x.dtype), ((self.skip, 0), (0, 0)))
        return x + table[None]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": list(self.grid), "skip": self.skip}


@keras.saving.register_keras_serializable("vit_keras")
class LearnedPositionEmbedding(_PositionEmbedding):
    """The paper's 1-D position embedding (eq. 1): a learned vector per token.

    A token that is neither skipped nor a patch is the class token, whose vector comes first.

    Args:
        grid: rows and columns of patches.
        skip: tokens before those that have a position.
        initial_stddev: deviation of the normal distribution that it starts from: 0.02, as in the
            official code; None: 1/√width, as in big_vision.
        **kwargs: of a Keras layer.
    """

    num_extra_tokens = (0, 1)

    def __init__(
        self,
        grid: tuple[int, int],
        skip: int = 0,
        initial_stddev: float | None = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(grid, skip, **kwargs)
        self.initial_stddev = initial_stddev

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, tokens, width = input_shape
        self.check_tokens(tokens)
        assert tokens is not None
        assert width is not None
        stddev = width**-0.5 if self.initial_stddev is None else self.initial_stddev
        self.embedding = self.add_weight(
            shape=(1, tokens - self.skip, width),
            initializer=keras.initializers.RandomNormal(stddev=stddev),
            name="embedding",
        )

    def table(self) -> Any:
        return self.embedding[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_stddev": self.initial_stddev}


@keras.saving.register_keras_serializable("vit_keras")
class Learned2dPositionEmbedding(_PositionEmbedding):
    """A learned vector of half the width per row and per column, side by side (appendix D.4).

    Column (X) first, then row (Y). Starts normal with deviation 0.02. All tokens but the skipped
    ones are patches, row by row.

    Raises:
        ValueError: the width is odd.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.check_tokens(input_shape[1])
        width = input_shape[-1]
        assert width is not None
        if width % 2:
            raise ValueError(f"learned_2d needs an even width; got {width}, nearest {width + 1}.")
        rows, columns = self.grid
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.rows = self.add_weight(shape=(rows, width // 2), initializer=initializer, name="rows")
        self.columns = self.add_weight(
            shape=(columns, width // 2), initializer=initializer.clone(), name="columns"
        )

    def table(self) -> Any:
        rows, columns = self.grid
        half = self.rows.shape[-1]
        x = ops.broadcast_to(self.columns[None, :, :], (rows, columns, half))
        y = ops.broadcast_to(self.rows[:, None, :], (rows, columns, half))
        return ops.reshape(ops.concatenate([x, y], axis=-1), (rows * columns, 2 * half))


@keras.saving.register_keras_serializable("vit_keras")
class SinCos2dPositionEmbedding(_PositionEmbedding):
    """Fixed sines and cosines of the column and row ("Better plain ViT baselines", section 2).

    Raises:
        ValueError: the width is no multiple of 4, or less than 8.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.check_tokens(input_shape[1])
        width = input_shape[-1]
        assert width is not None
        self.width = width
        sincos_2d(self.grid, width)

    def table(self) -> Any:
        return ops.convert_to_tensor(sincos_2d(self.grid, self.width))


def sincos_2d(grid: tuple[int, int], width: int, temperature: float = 10_000.0) -> np.ndarray:
    """Fixed position table, `[rows·columns, width]` float32.

    A quarter of the channels each: sin x, cos x, sin y, cos y, at frequencies
    temperature^(-k/(width/4 - 1)) for k = 0 ... width/4 - 1 (google-research/big_vision,
    models/vit.py).

    Raises:
        ValueError: the width is no multiple of 4, or less than 8.
    """
    if width % 4 or width < 8:
        nearest = max(8, round(width / 4) * 4)
        raise ValueError(
            f"sincos_2d needs a width that is a multiple of 4, at least 8; got {width}, nearest "
            f"{nearest}."
        )
    y, x = np.mgrid[: grid[0], : grid[1]]
    frequencies = temperature ** -np.linspace(0, 1, width // 4)
    x_angle, y_angle = (np.outer(position.ravel(), frequencies) for position in (x, y))
    parts = [np.sin(x_angle), np.cos(x_angle), np.sin(y_angle), np.cos(y_angle)]
    return np.concatenate(parts, axis=1).astype(np.float32)


POSITION_EMBEDDINGS = {
    "learned_1d": LearnedPositionEmbedding,
    "learned_2d": Learned2dPositionEmbedding,
    "sincos_2d": SinCos2dPositionEmbedding,
}
