"""What happens between the images and the logits, for those who ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vit_keras.vision_transformer import VisionTransformer


@dataclass(frozen=True)
class Intermediates:
    """Tensors of one forward pass.

    Attributes:
        embedded: the first block's input, `[batch, tokens, width]`.
        blocks: output of each block, `[batch, tokens, width]`.
        features: what the head reads, `[batch, feature_dim]`.
        logits: `[batch, num_classes]`; None without a head.
    """

    embedded: Any
    blocks: list[Any]
    features: Any
    logits: Any


def intermediates(model: VisionTransformer, images: Any) -> Intermediates:
    """Run a ViT and keep what each block gives. The model's own call keeps nothing.

    The logits are those of the model's call up to rounding: that leaves out what the head does not
    read of the last block (`VisionTransformer.last_block_only`).

    Args:
        model: any ViT of this package.
        images: `[batch, height, width, 3]` in [-1, 1].
    """
    embedded = tokens = model.embed(images)
    blocks = []
    for i in range(model.num_layers):
        tokens = model.apply_block(i, tokens)
        blocks.append(tokens)
    features = model.pool(tokens)
    logits = None if model.head is None else model.head(features)
    return Intermediates(embedded, blocks, features, logits)
