"""From the bytes of an image file to what the model sees in evaluation and serving.

Evaluation input and the exported SavedModel call these same functions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import tensorflow as tf

from pipeline.data.images.image_decoding import decode_rgb


@dataclass(frozen=True)
class EvalPreprocess:
    """Encoded image to the evaluation image: decode, resize, crop, scale to [-1, 1].

    Resizing is antialiased. Without `eval_resize` the image is resized straight to
    `image_size`, as in the original ViT code; with it the image first covers a frame that is
    `eval_resize` pixels at its shorter side (256 for a 224-pixel model, as in big_vision) and the
    center is cropped.
    """

    image_size: tuple[int, int]
    """Height and width of the result, in pixels."""
    eval_resize: int | None = None
    """Shorter side before the central crop, in pixels; None: no crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Of the resizing: bilinear for all that is trained here; bicubic as timm's models want it."""

    def __post_init__(self) -> None:
        if min(self.image_size) < 1:
            raise ValueError(f"image_size must be positive, not {self.image_size}")
        if self.eval_resize is not None and self.eval_resize < min(self.image_size):
            raise ValueError(
                f"eval_resize {self.eval_resize} is smaller than the shorter side of image_size "
                f"{self.image_size}: nothing would be left to crop"
            )

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Encoded image, string [], to float32 [height, width, 3] in [-1, 1]."""
        return self.from_pixels(decode_rgb(encoded))

    def from_pixels(self, image: tf.Tensor) -> tf.Tensor:
        """RGB image, [h, w, 3] in [0, 255], to float32 [height, width, 3] in [-1, 1]."""
        height, width = self.image_size
        if self.eval_resize is None:
            image = self._resized(image, self.image_size)
        else:
            image = self._resized(image, self._covering_size(tf.shape(image)))
            top = (tf.shape(image)[0] - height) // 2
            left = (tf.shape(image)[1] - width) // 2
            image = image[top : top + height, left : left + width]
        image.set_shape([height, width, 3])
        return to_model_range(image)

    def _resized(self, image: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
        if self.interpolation == "bilinear":
            return tf.image.resize(image, size, antialias=True)
        resized = tf.image.resize(image, size, method=self.interpolation, antialias=True)
        return tf.clip_by_value(resized, 0.0, 255.0)  # it overshoots at edges; Pillow cuts too

    def _covering_size(self, shape: tf.Tensor) -> tf.Tensor:
        """Size, int32 [2], at which an image of `shape` just covers the frame to crop from."""
        assert self.eval_resize is not None
        enlarge = self.eval_resize / min(self.image_size)
        frame = tf.constant([side * enlarge for side in self.image_size], tf.float32)
        size = tf.cast(shape[:2], tf.float32)
        size = tf.round(size * tf.reduce_max(frame / size))
        return tf.maximum(tf.cast(size, tf.int32), tf.constant(self.image_size))

    def get_config(self) -> dict[str, Any]:
        """The settings, as JSON holds them; `from_config` takes them."""
        config = asdict(self)
        if self.interpolation == "bilinear":  # as exports had it before there was a choice
            del config["interpolation"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EvalPreprocess:
        """Make one from what `get_config` gave."""
        height, width = config["image_size"]
        interpolation = config.get("interpolation", "bilinear")
        return cls((height, width), config["eval_resize"], interpolation)


def to_model_range(image: tf.Tensor) -> tf.Tensor:
    """Pixels in [0, 255] to float32 in [-1, 1]."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0
