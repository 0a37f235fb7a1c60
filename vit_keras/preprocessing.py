"""What a model expects of its pixels, and the layer that gives it to them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from keras import ops

if TYPE_CHECKING:
    from vit_keras.image_classifier import ImageClassifier

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")

_LARGEST = 16.0  # no mean and deviation in use brings a pixel in [0, 255] that far from 0


@dataclass(frozen=True)
class Preprocessing:
    """How a model's images were prepared when it was trained.

    Attributes:
        mean: per channel, subtracted from pixels in [0, 1].
        deviation: per channel, by which the difference is divided. The defaults give [-1, 1].
        crop: share of the resized image's side that the central crop keeps when the model is
            evaluated, in (0, 1]; None: not known.
        interpolation: of that resizing; None: not known.
    """

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)
    crop: float | None = None
    interpolation: Interpolation | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            value = getattr(self, name)
            if not value or len(value) != len(self.mean):
                raise ValueError(
                    f"preprocessing: {name} must be a number per channel; got {value!r}."
                )
            object.__setattr__(self, name, tuple(float(number) for number in value))
        if min(self.deviation) <= 0:
            raise ValueError(f"preprocessing: deviation must be above 0; got {self.deviation}.")
        if self.interpolation not in (*_INTERPOLATIONS, None):
            raise ValueError(
                f"preprocessing: interpolation must be one of {', '.join(_INTERPOLATIONS)}; got "
                f"{self.interpolation!r}."
            )

    @classmethod
    def of(cls, value: Preprocessing | Mapping[str, Any] | None) -> Preprocessing:
        """The same from its fields, as a model's config has them; None: the defaults.

        Raises:
            ValueError: an unknown field, or a value that cannot be.
        """
        if isinstance(value, Preprocessing):
            return value
        given = dict(value or {})
        known = [field.name for field in fields(cls)]
        if foreign := sorted(set(given) - set(known)):
            raise ValueError(f"preprocessing has no {', '.join(foreign)}; it has {known}.")
        return cls(**given)

    @classmethod
    def of_channels(cls, channels: int) -> Preprocessing:
        """[-1, 1] for so many channels."""
        return cls((0.5,) * channels, (0.5,) * channels)

    def config(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@keras.saving.register_keras_serializable("vit_keras")
class Preprocess(keras.layers.Layer):
    """Pixels in [0, 255] to what a model takes: (pixel/255 - mean) / deviation.

    Args:
        mean: per channel.
        deviation: per channel.

    Input: `[..., channels]`, uint8 or float in [0, 255]; output: the same shape, float32.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        **kwargs: Any,
    ) -> None:
        # Half precision would leave 8 bits of a pixel with an error of half a level.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean = tuple(mean)
        self.deviation = tuple(deviation)

    def call(self, images: Any) -> Any:
        pixels = ops.cast(images, "float32") / 255
        mean, deviation = (np.asarray(v, np.float32) for v in (self.mean, self.deviation))
        return (pixels - mean) / deviation

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        return keras.KerasTensor(images.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        config = {"mean": list(self.mean), "deviation": list(self.deviation)}
        return {**super().get_config(), **config}


def preprocess(model: ImageClassifier) -> Preprocess:
    """The layer between pixels in [0, 255], uint8 or float, and a model.

    It neither resizes nor crops; `model.preprocessing` says how the model's images were.

    Example:
        pixels = keras.Input((224, 224, 3), dtype="uint8")
        whole = keras.Model(pixels, model(vit_keras.preprocess(model)(pixels)))
    """
    expected = model.preprocessing
    return Preprocess(expected.mean, expected.deviation, name="preprocess")


def warn_of_raw_pixels(model: ImageClassifier, images: object) -> None:
    """Warn where a NumPy batch is plainly in [0, 255]; one image of it is looked at."""
    if not isinstance(images, np.ndarray) or not images.size:
        return
    if images.dtype == np.uint8 or images[0].max() > _LARGEST:
        warnings.warn(
            f"{model.name} was given pixels in [0, 255], but takes (pixel/255 - mean) / deviation "
            f"with mean {model.preprocessing.mean} and deviation {model.preprocessing.deviation}: "
            "call it on vit_keras.preprocess(model)(images).",
            stacklevel=3,
        )
