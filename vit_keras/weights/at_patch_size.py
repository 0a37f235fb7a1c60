"""A ViT at another patch size, with the weights that it has (FlexiViT, arXiv 2212.08013)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.files import weights_by_path
from vit_keras.weights.pretrained import resample_weights
from vit_keras.weights.resample import Method

METHOD: Method = "bilinear_centers"
"""Of resizing patches and positions, as in FlexiViT; its positions alone are antialiased where the
grid shrinks."""


class AtPatchSize:
    """Calls a ViT as if its patches had another size; the ViT itself stays as it is.

    In each call the patch embedding's kernel is resized by PI-resize and the position embedding to
    the new grid, so that gradients reach both. What is called is what `adapt_model(vit,
    patch_size=..., method="bilinear_centers")` would be.

    Args:
        vit: whose weights are used. Kernel and positions have its own patch size.
        patch_size: side of a patch in pixels, or in cells of a hybrid's feature map.

    Attributes:
        model: the ViT at that size, without weights: for counting.

    Raises:
        ValueError: no ViT, one with relative positions or rematerialization, or patches that the
            image is no multiple of.
    """

    def __init__(self, vit: keras.Model, patch_size: int):
        if not isinstance(vit, VisionTransformer) or vit.is_relative or vit.remat:
            raise ValueError(
                "another patch size takes a ViT without relative positions or rematerialization."
            )
        self._vit = vit
        with keras.StatelessScope(initialize_variables=False):
            self.model = VisionTransformer.from_config(
                {**vit.get_config(), "patch_size": patch_size}
            )

    def __call__(self, images: Any, training: bool | None = False, seeds: Any = None) -> Any:
        """Logits, or without a head features; arguments and results are those of the ViT."""
        own = {path: ops.convert_to_tensor(w) for path, w in weights_by_path(self._vit).items()}
        resized = resample_weights(self._vit, self.model, own, METHOD)
        trainable = [resized[path] for path in weights_by_path(self.model)]
        # States of generators, which nothing draws from where seeds are given.
        states = [ops.zeros(v.shape, v.dtype) for v in self.model.non_trainable_variables]
        outputs, _ = self.model.stateless_call(
            trainable, states, images, training=training, seeds=seeds
        )
        return outputs
