"""What every model of the family has in common: images in, features, a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import keras
from keras import ops

from vit_keras.preprocessing import Preprocessing, warn_of_raw_pixels


class ImageClassifier(keras.Model):
    """A backbone with `features`, and a linear head over them. Base class: not for use alone.

    The head starts at zero, so that an untrained model gives every class `head_bias_init`
    (official ViT code; the paper's section 3.1 uses it for fine-tuning). Its logits are float32
    under mixed precision too.

    A subclass defines `backbone`, `build_backbone`, `feature_dim` and `has_noise`, and calls
    `finish` at the end of its constructor.

    Args:
        image_size: height and width in pixels; one number: both.
        num_classes: classes of the head; None: no head, the model returns its features.
        head_bias_init: initial bias of the head. The official code takes -10 for the sigmoid
            loss over many classes.
        channels: of the images; those of colored ones are red, green and blue.
        preprocessing: what the model expects of its pixels, or its fields in a dictionary; None:
            [-1, 1]. A mean and a deviation per channel. It says so, and changes nothing in the
            model: see `vit_keras.preprocess`.
        class_names: names of the classes in order; None: not known.

    Raises:
        ValueError: not one name per class, or a preprocessing that cannot be.
    """

    built: bool  # set by keras; declared for the type checker

    def __init__(
        self,
        *,
        image_size: int | tuple[int, int],
        num_classes: int | None,
        head_bias_init: float = 0.0,
        channels: int = 3,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_at_least(1, channels=channels)
        self.channels = channels
        self.preprocessing = (
            Preprocessing.of_channels(channels)
            if preprocessing is None
            else Preprocessing.of(preprocessing)
        )
        if len(self.preprocessing.mean) != channels:
            raise ValueError(
                f"preprocessing has {len(self.preprocessing.mean)} channels, images {channels}: "
                "give a mean and a deviation for each."
            )
        self.class_names = None if class_names is None else tuple(class_names)
        self.image_size = as_pair(image_size)
        self.num_classes = num_classes
        self.head_bias_init = head_bias_init
        check_at_least(1, num_classes=num_classes)
        if self.class_names is not None and len(self.class_names) != num_classes:
            raise ValueError(
                f"class_names must be one per class: {len(self.class_names)} names for "
                f"{num_classes} classes."
            )

    def finish(self) -> None:
        """Make the head, and the weights: the image size is known, so no call need be awaited."""
        self.head = (
            None
            if self.num_classes is None
            else keras.layers.Dense(
                self.num_classes,
                kernel_initializer="zeros",
                bias_initializer=keras.initializers.Constant(self.head_bias_init),
                name="head",
                dtype=self.variable_dtype,
            )
        )
        # Only a model that drops something has a generator: the others have no state but weights.
        self.generator = keras.random.SeedGenerator() if self.has_noise else None
        self.build((None, *self.image_size, self.channels))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.built:  # loading a saved model builds it again
            return
        with keras.name_scope(self.name, caller=self):
            self.build_backbone(tuple(input_shape))
            if self.head is not None:
                self.head.build((None, self.feature_dim))
        self.built = True

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model; warn of NumPy pixels in [0, 255]."""
        warn_of_raw_pixels(self, images)
        return super().__call__(images, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Keras' `predict`; warn of NumPy pixels in [0, 255]."""
        warn_of_raw_pixels(self, x)
        return super().predict(x, *args, **kwargs)

    def call(self, images: Any, training: bool | None = None, seeds: Any = None) -> Any:
        """Logits, `[batch, num_classes]` float32; without a head, `features`.

        Takes the same arguments as `features`.
        """
        features = self.features(images, training=training, seeds=seeds)
        return features if self.head is None else self.head(features)

    def features(self, images: Any, training: bool | None = False, seeds: Any = None) -> Any:
        """What the head reads.

        Args:
            images: `[batch, height, width, channels]` float32, in [-1, 1] unless `preprocessing`
                says otherwise.
            training: whether dropout and stochastic depth are on.
            seeds: `[batch]` int32, one per example, from which all random masks follow, whatever
                the rest of the batch; None: drawn from the model's own generator.

        Returns:
            `[batch, feature_dim]` float32.
        """
        if training and seeds is None and self.generator is not None:
            seeds = keras.random.randint(
                (ops.shape(images)[0],), 0, 2**31 - 1, dtype="int32", seed=self.generator
            )
        return self.backbone(images, training, seeds)

    def build_backbone(self, input_shape: tuple[int | None, ...]) -> None:
        """Build every layer but the head."""
        raise NotImplementedError

    def backbone(self, images: Any, training: bool | None, seeds: Any) -> Any:
        """The same as `features`, with the seeds drawn."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.num_classes or self.feature_dim)

    @property
    def has_noise(self) -> bool:
        """Whether anything is random while training."""
        raise NotImplementedError

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "image_size": list(self.image_size),
            "num_classes": self.num_classes,
            "head_bias_init": self.head_bias_init,
            # colored images' as it was before there was a choice
            **({} if self.channels == 3 else {"channels": self.channels}),
            "preprocessing": self.preprocessing.config(),
            "class_names": None if self.class_names is None else list(self.class_names),
        }


def as_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number or two.

    Raises:
        ValueError: not one or two positive integers.
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and int(side) > 0 for side in sides):
        raise ValueError(
            f"image_size must be a number of pixels, or (height, width); got {size!r}."
        )
    return int(sides[0]), int(sides[1])


def check_at_least(minimum: int, **numbers: Any) -> None:
    """Raise a ValueError that names the argument unless each is an integer of at least `minimum`.

    None is passed over: an argument that was not given.
    """
    for argument, number in numbers.items():
        if number is not None and (not isinstance(number, Integral) or number < minimum):
            raise ValueError(
                f"{argument} must be an integer of at least {minimum}; got {number!r}."
            )
