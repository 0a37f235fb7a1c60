"""What a trained ViT has learned, as arrays: the analyzes of the paper's section 4.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from vit_keras.vision_transformer import VisionTransformer


def mean_attention_distance(
    weights: Sequence[Any], grid: tuple[int, int], patch_size: float
) -> np.ndarray:
    """How far each head looks (ViT paper, section 4.5 and Figure 7 right; appendix D.7).

    The distance between query and key patch, in pixels, weighted by attention, then averaged over
    queries and images. Tokens that are no patches are left out, so that attention paid to them
    counts as no distance.

    Args:
        weights: per block `[batch, heads, tokens, tokens]`, as `attention_weights` gives them; the
            patches are the last rows·columns tokens.
        grid: rows and columns of patches.
        patch_size: pixels from one patch to the next.

    Returns:
        `[blocks, heads]` float32, in pixels.
    """
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    places = np.stack([rows, columns], axis=-1) * float(patch_size)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    patches = len(distance)
    blocks = [np.asarray(ops.convert_to_numpy(w))[..., -patches:, -patches:] for w in weights]
    return np.stack(
        [np.einsum("bhqk,qk->h", w, distance) / (w.shape[0] * patches) for w in blocks]
    ).astype(np.float32)


def position_similarity(model: VisionTransformer) -> np.ndarray:
    """Cosine similarity of each patch's position embedding with all others (Figure 7, center).

    Args:
        model: a ViT with learned or fixed absolute position embeddings. Where each block has its
            own, the first block's.

    Returns:
        `[rows, columns, rows, columns]` float32 in [-1, 1]: the map at [i, j] belongs to the patch
        in row i, column j.

    Raises:
        ValueError: the model has no absolute position embeddings.
    """
    if not model.positions or model.is_relative:
        raise ValueError(f"{model.name} has no absolute position embeddings to compare.")
    rows, columns = model.grid_size
    table: np.ndarray = ops.convert_to_numpy(model.positions[0].table())[-rows * columns :]
    table = table / np.maximum(np.linalg.norm(table, axis=-1, keepdims=True), 1e-12)
    similarity: np.ndarray = table @ table.T
    return similarity.reshape(rows, columns, rows, columns)


def embedding_filters(model: VisionTransformer, count: int = 28) -> np.ndarray:
    """Principal components of the patch embedding's filters (ViT paper, Figure 7 left).

    Args:
        model: a ViT; of a hybrid, the filters over the stem's feature map.
        count: how many, largest first; at most what the filters span.

    Returns:
        `[count, patch_size, patch_size, channels]` float32, each of unit norm; the sign of a
        component means nothing.
    """
    kernel = model.patch_embedding.kernel.numpy()
    filters = kernel.reshape(-1, kernel.shape[-1]).T
    _, _, components = np.linalg.svd(filters - filters.mean(axis=0), full_matrices=False)
    return components[:count].reshape(-1, *kernel.shape[:-1])
