"""Masked patch prediction: self-supervised pre-training of the paper's appendix B.1.2."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from vit_keras.layers.noise import fold_in, uniform
from vit_keras.patch_prediction import PatchPredictor, mean_over_hidden
from vit_keras.vision_transformer import VisionTransformer

Target = Literal["mean_color", "downsampled", "pixels"]

COLORS_PER_CHANNEL = 8  # 3 bits
NUM_COLORS = COLORS_PER_CHANNEL**3
DOWNSAMPLED_SIDE = 4
MASKED, SWAPPED = 0.8, 0.1  # of the corrupted patches; the rest stays as it is


@keras.saving.register_keras_serializable("vit_keras")
class MaskedPatchModel(PatchPredictor):
    """A ViT that predicts what is in corrupted patches.

    Of the patch embeddings, `mask_ratio` is corrupted: 80 % of these become a learned mask
    token, 10 % the embedding of another patch of the image, 10 % stay. The encoder's output at
    the corrupted patches predicts one of three targets:

    - "mean_color": the patch's mean color, 3 bits per channel, one of 512 classes;
    - "downsampled": the patch at 4×4 pixels, 16 colors of 512 classes each;
    - "pixels": all pixels, by L2 regression.

    Source: ViT paper, appendix B.1.2; its code was not released.

    Args:
        vit: the model to pre-train, without head. It is trained in place: after pre-training it
            (or `adapt_model(vit, num_classes=...)`) is what fine-tuning starts from.
        target: what to predict.
        mask_ratio: share of patches that is corrupted, in (0, 1).

    Input: `[batch, height, width, 3]` float32 in [-1, 1]; output: predictions for all patches,
    `[batch, patches, values]` float32, with 512, 16·512 or pixels·3 values.

    Raises:
        ValueError: a model with a head, an unknown target, or patches that are no multiple of 4
            pixels with "downsampled".
    """

    def __init__(
        self,
        vit: VisionTransformer,
        target: Target = "mean_color",
        mask_ratio: float = 0.5,
        name: str = "masked_patches",
        **kwargs: Any,
    ) -> None:
        super().__init__(vit, mask_ratio, name=name, **kwargs)
        self.target = target
        self.predicts_classes = target != "pixels"
        if target == "downsampled" and vit.patch_pixels % DOWNSAMPLED_SIDE:
            raise ValueError(
                f"target 'downsampled' needs patches of a multiple of {DOWNSAMPLED_SIDE} pixels; "
                f"got {vit.patch_pixels}."
            )
        self.prediction = keras.layers.Dense(
            self.num_values, name="prediction", dtype=self.variable_dtype
        )
        self.finish()

    @property
    def num_values(self) -> int:
        values = {
            "mean_color": NUM_COLORS,
            "downsampled": DOWNSAMPLED_SIDE**2 * NUM_COLORS,
            "pixels": self.vit.patch_pixels**2 * 3,
        }
        if self.target not in values:
            raise ValueError(f"target must be one of {', '.join(values)}; got {self.target!r}.")
        return values[self.target]

    def build_prediction(self) -> None:
        self.mask_token = self.add_weight(
            shape=(1, 1, self.vit.width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="mask_token",
        )
        self.prediction.build((None, self.num_patches, self.vit.width))

    def predict_patches(
        self, images: Any, training: bool | None = False, seeds: Any = None
    ) -> tuple[Any, Any]:
        seeds = self.drawn_seeds(images, seeds)
        patches, corrupted = self._corrupt(self.vit.embed_patches(images), fold_in(seeds, 0))
        vit, vit_seeds = self.vit, fold_in(seeds, 1)
        tokens = vit.add_positions(patches, training=training, seeds=vit_seeds)
        for i in range(vit.num_layers):
            tokens = vit.apply_block(i, tokens, training=training, seeds=vit_seeds)
        assert vit.encoder_norm is not None  # as checked when made
        tokens = vit.encoder_norm(tokens[:, vit.num_prefix_tokens :])
        return self.prediction(tokens), corrupted

    def _corrupt(self, patches: Any, seeds: Any) -> tuple[Any, Any]:
        count = self.num_patches
        order = ops.argsort(ops.argsort(uniform(fold_in(seeds, 0), (count,)), axis=1), axis=1)
        corrupted = order < self.num_hidden
        kind = uniform(fold_in(seeds, 1), (count,))
        # Another patch of the same image: 1 to count - 1 places further on.
        step = 1 + ops.cast(uniform(fold_in(seeds, 2), (count,)) * (count - 1), "int32")
        other = (ops.arange(count, dtype="int32")[None] + ops.minimum(step, count - 1)) % count
        swapped = ops.take_along_axis(patches, other[:, :, None], axis=1)
        mask = ops.cast(self.mask_token, patches.dtype)
        changed = ops.where((kind < MASKED)[..., None], mask, swapped)
        changed = ops.where((kind < MASKED + SWAPPED)[..., None], changed, patches)
        return ops.where(corrupted[..., None], changed, patches), corrupted

    def targets(self, images: Any) -> Any:
        """What is to be predicted.

        Returns:
            "mean_color": `[batch, patches]` int32 below 512. "downsampled": `[batch, patches, 16]`
            int32 below 512. "pixels": `[batch, patches, pixels·3]` float32.
        """
        count, patch = self.num_patches, self.vit.patch_pixels
        x = self.pixels_of_patches(images)
        if self.target == "pixels":
            return x
        if self.target == "mean_color":
            return _color(ops.mean(ops.reshape(x, (-1, count, patch * patch, 3)), axis=2))
        side = DOWNSAMPLED_SIDE
        x = ops.reshape(x, (-1, count, side, patch // side, side, patch // side, 3))
        return _color(ops.reshape(ops.mean(x, axis=(3, 5)), (-1, count, side**2, 3)))

    def score_per_image(
        self, images: Any, training: bool | None = True, seeds: Any = None
    ) -> tuple[Any, Any]:
        """The losses: cross-entropy in nats for the two color targets (for "downsampled", the mean
        over its 16 colors), the mean squared error for "pixels". See `PatchPredictor`."""
        predictions, corrupted = self.predict_patches(images, training=training, seeds=seeds)
        targets = self.targets(images)
        if self.target == "pixels":
            losses = ops.mean(ops.square(predictions - targets), axis=-1)
            hits = ops.zeros_like(losses)
        else:
            shape = (-1, self.num_patches, *targets.shape[2:], NUM_COLORS)
            logits = ops.reshape(predictions, shape)
            losses = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
            hits = ops.cast(ops.equal(ops.argmax(logits, axis=-1), targets), losses.dtype)
            if self.target == "downsampled":
                losses, hits = (ops.mean(value, axis=-1) for value in (losses, hits))
        return mean_over_hidden(losses, corrupted), mean_over_hidden(hits, corrupted)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target": self.target}


def _color(rgb: Any) -> Any:
    """Class of a color, `[..., 3]` in [-1, 1] to `[...]` int32 below 512: 3 bits a channel."""
    levels = ops.floor((rgb + 1) / 2 * COLORS_PER_CHANNEL)
    levels = ops.cast(ops.clip(levels, 0, COLORS_PER_CHANNEL - 1), "int32")
    return (levels[..., 0] * COLORS_PER_CHANNEL + levels[..., 1]) * COLORS_PER_CHANNEL + levels[
        ..., 2
    ]
