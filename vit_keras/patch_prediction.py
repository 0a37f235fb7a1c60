"""What self-supervised models of a ViT share that predict what is in patches that are hidden."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.vision_transformer import VisionTransformer


class PatchPredictor(keras.Model):
    """Hides patches from a ViT and predicts what is in them. Base class: not for use alone.

    A subclass defines what raises NotImplementedError here, and calls `finish` at the end of its
    constructor.

    Args:
        vit: the model to pre-train, without head. It is trained in place: after pre-training it
            (or `adapt_model(vit, num_classes=...)`) is what fine-tuning starts from.
        mask_ratio: share of the patches that is hidden, in (0, 1).

    Input: `[batch, height, width, 3]` float32 in [-1, 1]; output: predictions for all patches,
    `[batch, patches, num_values]` float32.

    Raises:
        ValueError: a model with a head or without last norm, or a share out of range.
    """

    built: bool  # set by keras; declared for the type checker
    predicts_classes = True
    """Whether a prediction is a choice, which may be right or wrong."""

    def __init__(self, vit: VisionTransformer, mask_ratio: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(vit, VisionTransformer) or vit.num_classes is not None:
            raise ValueError("masked patch prediction takes a ViT without head: num_classes=None.")
        if vit.channels != 3:
            raise ValueError(f"masked patch prediction is of colors; got {vit.channels} channels.")
        if vit.encoder_norm is None:
            raise ValueError("masked patch prediction needs a last norm: final_norm='tokens'.")
        if not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in (0, 1); got {mask_ratio}.")
        self.vit = vit
        self.mask_ratio = mask_ratio

    def finish(self) -> None:
        """Make the weights."""
        self.generator = keras.random.SeedGenerator()
        self.build((None, *self.vit.image_size, 3))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.built:
            return
        with keras.name_scope(self.name, caller=self):
            self.build_prediction()
        self.built = True

    def build_prediction(self) -> None:
        """Make and build what the ViT does not have."""
        raise NotImplementedError

    @property
    def num_values(self) -> int:
        """Numbers that are predicted of a patch."""
        raise NotImplementedError

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        rows, columns = self.vit.grid_size
        return rows * columns

    @property
    def num_hidden(self) -> int:
        """Of them, those that are hidden; at least one."""
        return max(1, round(self.mask_ratio * self.num_patches))

    def call(self, images: Any, training: bool | None = None, seeds: Any = None) -> Any:
        return self.predict_patches(images, training=training, seeds=seeds)[0]

    def predict_patches(
        self, images: Any, training: bool | None = False, seeds: Any = None
    ) -> tuple[Any, Any]:
        """Hide patches and predict their content.

        Args:
            images: `[batch, height, width, 3]` float32 in [-1, 1].
            training: whether dropout and stochastic depth are on; patches are hidden anyway.
            seeds: `[batch]` int32, from which the patches and dropout follow; None: drawn.

        Returns:
            Predictions `[batch, patches, num_values]` float32, and which patches were hidden,
            `[batch, patches]` bool.
        """
        raise NotImplementedError

    def loss_per_image(self, images: Any, training: bool | None = True, seeds: Any = None) -> Any:
        """The losses of `score_per_image`."""
        return self.score_per_image(images, training=training, seeds=seeds)[0]

    def score_per_image(
        self, images: Any, training: bool | None = True, seeds: Any = None
    ) -> tuple[Any, Any]:
        """Mean loss over an image's hidden patches, and the share that is predicted right.

        Args:
            images: `[batch, height, width, 3]` float32 in [-1, 1].
            training: whether dropout and stochastic depth are on.
            seeds: `[batch]` int32, from which the patches and dropout follow; None: drawn.

        Returns:
            `[batch]` float32 each; the share is 0 where nothing is chosen.
        """
        raise NotImplementedError

    def drawn_seeds(self, images: Any, seeds: Any) -> Any:
        """`seeds`, or new ones `[batch]` int32 in the place of None."""
        if seeds is not None:
            return seeds
        count = ops.shape(images)[0]
        return keras.random.randint((count,), 0, 2**31 - 1, dtype="int32", seed=self.generator)

    def pixels_of_patches(self, images: Any) -> Any:
        """Images as patches: `[batch, patches, pixels·3]` float32, row by row."""
        (rows, columns), patch = self.vit.grid_size, self.vit.patch_pixels
        x = ops.reshape(ops.cast(images, "float32"), (-1, rows, patch, columns, patch, 3))
        return ops.reshape(
            ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows * columns, patch * patch * 3)
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.num_patches, self.num_values)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "vit": keras.saving.serialize_keras_object(self.vit),
            "mask_ratio": self.mask_ratio,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PatchPredictor:
        vit = keras.saving.deserialize_keras_object(config["vit"])
        return cls(**{**config, "vit": vit})


def mean_over_hidden(values: Any, hidden: Any) -> Any:
    """Mean over an image's hidden patches: `[batch, patches]` to `[batch]`."""
    weights = ops.cast(hidden, values.dtype)
    return ops.sum(values * weights, axis=1) / ops.sum(weights, axis=1)
