"""Masked autoencoder (MAE): self-supervised pre-training of He et al. (arXiv 2111.06377)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.image_classifier import check_at_least
from vit_keras.layers.encoder_block import EncoderBlock
from vit_keras.layers.noise import fold_in, uniform
from vit_keras.layers.normalization import token_norm
from vit_keras.layers.position_embedding import SinCos2dPositionEmbedding
from vit_keras.patch_prediction import PatchPredictor, mean_over_hidden
from vit_keras.vision_transformer import VisionTransformer

MLP_RATIO = 4
VARIANCE_EPSILON = 1e-6


@keras.saving.register_keras_serializable("vit_keras")
class MaskedAutoencoder(PatchPredictor):
    """A ViT that sees some patches of an image, and a light decoder that draws the others.

    The encoder gets the visible patches alone, with their positions. Its output, a learned mask
    token in the place of each hidden patch, and fixed sine-cosine positions go through the decoder,
    which predicts the pixels; its blocks are of the encoder's kind. The loss is the mean squared
    error over hidden patches.

    Args:
        vit: the encoder, without head. It is trained in place: after pre-training it (or
            `adapt_model(vit, num_classes=...)`) is what fine-tuning starts from.
        mask_ratio: share of the patches that is hidden, in (0, 1).
        decoder_width: channels of the decoder's tokens; a multiple of 4 and of its heads.
        decoder_layers: its blocks.
        decoder_heads: its attention heads.
        normalize_pixels: whether the pixels of each patch are brought to mean 0 and variance 1
            before they are predicted (the paper's better target).

    Input: `[batch, height, width, 3]` float32 in [-1, 1]; output: predictions for all patches,
    `[batch, patches, pixels·3]` float32.

    Raises:
        ValueError: a model with a head, one whose patches know of each other before the first
            block (a hybrid), or whose positions are not added to the tokens there.
    """

    predicts_classes = False

    def __init__(
        self,
        vit: VisionTransformer,
        mask_ratio: float = 0.75,
        decoder_width: int = 512,
        decoder_layers: int = 8,
        decoder_heads: int = 16,
        normalize_pixels: bool = True,
        name: str = "masked_autoencoder",
        **kwargs: Any,
    ) -> None:
        super().__init__(vit, mask_ratio, name=name, **kwargs)
        check_at_least(1, decoder_layers=decoder_layers, decoder_heads=decoder_heads)
        at_stem = vit.position_place == "stem" and not vit.is_relative
        if vit.stem is not None or vit.axial or vit.rope is not None or not at_stem:
            raise ValueError(
                "a masked autoencoder's encoder sees some patches alone: it takes a ViT without "
                "stem, axial attention or rope, whose positions are added before the first block."
            )
        if self.num_hidden == self.num_patches:
            raise ValueError(f"mask_ratio {mask_ratio} hides all {self.num_patches} patches.")
        self.decoder_width = decoder_width
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.normalize_pixels = normalize_pixels
        policy = self.dtype_policy
        self.decoder_embedding = keras.layers.Dense(
            decoder_width, name="decoder_embedding", dtype=policy
        )
        self.decoder_positions = SinCos2dPositionEmbedding(
            vit.grid_size, vit.num_prefix_tokens, name="decoder_positions", dtype=policy
        )
        self.decoder_blocks = [
            EncoderBlock(
                decoder_width * MLP_RATIO,
                decoder_heads,
                activation=vit.activation,
                norm=vit.norm,
                norm_epsilon=vit.norm_epsilon,
                name=f"decoder_block_{index}",
                dtype=policy,
            )
            for index in range(decoder_layers)
        ]
        self.decoder_norm = token_norm("decoder_norm", policy, vit.norm, vit.norm_epsilon)
        self.prediction = keras.layers.Dense(
            self.num_values, name="prediction", dtype=self.variable_dtype
        )
        self.finish()

    @property
    def num_values(self) -> int:
        return self.vit.patch_pixels**2 * 3

    def build_prediction(self) -> None:
        tokens = self.num_patches + self.vit.num_prefix_tokens
        self.mask_token = self.add_weight(
            shape=(1, 1, self.decoder_width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="mask_token",
        )
        self.decoder_embedding.build((None, tokens, self.vit.width))
        shape = (None, tokens, self.decoder_width)
        for layer in (
            self.decoder_positions,
            *self.decoder_blocks,
            self.decoder_norm,
            self.prediction,
        ):
            layer.build(shape)

    def predict_patches(
        self, images: Any, training: bool | None = False, seeds: Any = None
    ) -> tuple[Any, Any]:
        seeds = self.drawn_seeds(images, seeds)
        order = ops.argsort(uniform(fold_in(seeds, 0), (self.num_patches,)), axis=1)
        encoded = self._encode(images, order, training, fold_in(seeds, 1))
        place = ops.argsort(order, axis=1)
        predictions = self._decode(encoded, place, training)
        return predictions, place >= self.num_patches - self.num_hidden

    def _encode(self, images: Any, order: Any, training: bool | None, seeds: Any) -> Any:
        """Tokens before the patches', and those of the first patches in `order`."""
        vit = self.vit
        tokens = vit.add_positions(vit.embed_patches(images), training=training, seeds=seeds)
        prefix, visible = vit.num_prefix_tokens, order[:, : self.num_patches - self.num_hidden]
        patches = ops.take_along_axis(tokens[:, prefix:], visible[:, :, None], axis=1)
        tokens = ops.concatenate([tokens[:, :prefix], patches], axis=1)
        for index in range(vit.num_layers):
            tokens = vit.apply_block(index, tokens, training=training, seeds=seeds)
        assert vit.encoder_norm is not None  # as checked when made
        return vit.encoder_norm(tokens)

    def _decode(self, encoded: Any, place: Any, training: bool | None) -> Any:
        """Predictions `[batch, patches, values]`; `place` of each patch in the order."""
        prefix = self.vit.num_prefix_tokens
        tokens = self.decoder_embedding(encoded)
        shape = (ops.shape(tokens)[0], self.num_hidden, self.decoder_width)
        hidden = ops.broadcast_to(ops.cast(self.mask_token, tokens.dtype), shape)
        patches = ops.concatenate([tokens[:, prefix:], hidden], axis=1)
        patches = ops.take_along_axis(patches, place[:, :, None], axis=1)
        tokens = self.decoder_positions(ops.concatenate([tokens[:, :prefix], patches], axis=1))
        for block in self.decoder_blocks:
            tokens = block(tokens, training=training)
        return self.prediction(self.decoder_norm(tokens[:, prefix:]))

    def targets(self, images: Any) -> Any:
        """What is to be predicted: `[batch, patches, pixels·3]` float32."""
        pixels = self.pixels_of_patches(images)
        if not self.normalize_pixels:
            return pixels
        pixels = pixels - ops.mean(pixels, axis=-1, keepdims=True)
        # Divided by one less than the count, as in the original code.
        variance = ops.sum(ops.square(pixels), axis=-1, keepdims=True) / (self.num_values - 1)
        return pixels / ops.sqrt(variance + VARIANCE_EPSILON)

    def score_per_image(
        self, images: Any, training: bool | None = True, seeds: Any = None
    ) -> tuple[Any, Any]:
        """The losses are mean squared errors. See `PatchPredictor`."""
        predictions, hidden = self.predict_patches(images, training=training, seeds=seeds)
        errors = ops.mean(ops.square(predictions - self.targets(images)), axis=-1)
        losses = mean_over_hidden(errors, hidden)
        return losses, ops.zeros_like(losses)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "decoder_width": self.decoder_width,
            "decoder_layers": self.decoder_layers,
            "decoder_heads": self.decoder_heads,
            "normalize_pixels": self.normalize_pixels,
        }
