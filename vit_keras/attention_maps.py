"""Where the model looks: attention weights of every block, and their rollout to a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from vit_keras.vision_transformer import VisionTransformer


def attention_weights(model: VisionTransformer, images: Any) -> list[Any]:
    """Attention weights of every block.

    They are computed beside the forward pass, which itself keeps none.

    Args:
        model: any ViT of this package but an axial one.
        images: `[batch, height, width, 3]` in [-1, 1].

    Returns:
        One tensor per block, `[batch, heads, tokens, tokens]` float32. Row i holds what token i
        takes from each token. First come `model.num_prefix_tokens` tokens that are no patches,
        the last of which is the class token where there is one; then the patches, row by row.

    Raises:
        ValueError: an axial model, or no ViT: there is no attention among all tokens.
    """
    if not isinstance(model, VisionTransformer) or model.axial:
        raise ValueError(f"{model.name} has no attention among all tokens: give a plain ViT.")
    tokens = model.embed(images)
    weights = []
    for i, block in enumerate(model.blocks):
        inputs, options = model.block_input(i, tokens)
        weights.append(block.attention_weights(inputs, **options))
        tokens = model.apply_block(i, tokens)
    return weights


def attention_rollout(model: VisionTransformer, images: Any) -> np.ndarray:
    """How much of each patch reaches the output, through all blocks (ViT paper, appendix D.7).

    Heads are averaged, the residual counts as an identity of equal weight, and the blocks'
    matrices are multiplied (Abnar and Zuidema, "Quantifying Attention Flow", eq. 1).

    Args:
        model: any ViT of this package but an axial one.
        images: `[batch, height, width, 3]` in [-1, 1].

    Returns:
        `[batch, rows, columns]` float32: the class token's share from each patch; where the
        classifier reads no class token, the mean over the patches' tokens.

    Raises:
        ValueError: an axial model, or no ViT.
    """
    joint = rollout([ops.convert_to_numpy(w) for w in attention_weights(model, images)])
    prefix = model.num_prefix_tokens
    reads_patches = model.classifier in ("gap", "map")
    query = joint[:, prefix:].mean(axis=1) if reads_patches else joint[:, prefix - 1]
    return query[:, prefix:].reshape(-1, *model.grid_size)


def rollout(weights: list[np.ndarray]) -> np.ndarray:
    """Multiply `[batch, heads, tokens, tokens]` per block to `[batch, tokens, tokens]`.

    Row i holds the share that each input token has in output token i; rows sum to 1.
    """
    identity = np.eye(weights[0].shape[-1], dtype=np.float32)
    joint = identity[None]
    for block in weights:
        joint = (0.5 * block.mean(axis=1) + 0.5 * identity) @ joint
    return joint
