"""Relative position: an embedding per offset between two tokens of a sequence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("vit_keras")
class RelativePositionEmbedding(keras.layers.Layer):
    """Holds the embeddings of the offsets; call it with the tokens they are for.

    Source: ViT paper, appendix D.4, "relative positional embeddings": 1-dimensional offsets
    p_q - p_k along the sequence; the query meets the offset's embedding as it meets a key, and the
    result is a bias of the attention logits. Starts normal with deviation 0.02.

    Args:
        head_dim: channels of a head of the attention that it biases.

    Input: `[batch, tokens, width]`; output: `[2·tokens - 1, head_dim]`, for offsets from
    -(tokens - 1) to tokens - 1.
    """

    def __init__(self, head_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.head_dim = head_dim

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        tokens = input_shape[1]
        assert tokens is not None
        self.embedding = self.add_weight(
            shape=(2 * tokens - 1, self.head_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="embedding",
        )

    def call(self, x: Any) -> Any:
        return ops.cast(self.embedding, x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        tokens = input_shape[1]
        return (None if tokens is None else 2 * tokens - 1, self.head_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "head_dim": self.head_dim}


def relative_logits(query: Any, embedding: Any) -> Any:
    """Bias of the attention logits.

    Args:
        query: `[batch, heads, tokens, head_dim]`.
        embedding: `[2·tokens - 1, head_dim]`, by offset p_q - p_k from -(tokens - 1) on.

    Returns:
        `[batch, heads, tokens, tokens]`: entry (q, k) is query q · embedding of offset q - k.

    Raises:
        ValueError: embeddings for another number of tokens.
    """
    heads, tokens = query.shape[1:3]
    if embedding.shape[0] != 2 * tokens - 1:
        raise ValueError(
            f"relative positions of {(embedding.shape[0] + 1) // 2} tokens met {tokens}: a model "
            "that has them takes images of the size it was built for alone."
        )
    by_offset = ops.matmul(query, ops.transpose(ops.flip(embedding, axis=0)))
    # Row q needs columns tokens-1-q to 2·tokens-2-q. In a flat copy whose rows are one entry
    # longer than the stride it is then read with, each row starts one entry earlier than the last.
    flat = ops.reshape(
        ops.pad(by_offset, ((0, 0), (0, 0), (0, 0), (0, 1))), (-1, heads, 2 * tokens * tokens)
    )
    flat = flat[:, :, tokens - 1 : tokens - 1 + tokens * (2 * tokens - 1)]
    return ops.reshape(flat, (-1, heads, tokens, 2 * tokens - 1))[..., :tokens]
