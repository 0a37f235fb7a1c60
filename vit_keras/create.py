"""Models by name."""

from __future__ import annotations

import inspect
from typing import Any

from vit_keras.bit_resnet import BiTResNet
from vit_keras.image_classifier import ImageClassifier
from vit_keras.variants import parse_variant
from vit_keras.vision_transformer import VisionTransformer

MODELS: dict[str, type[ImageClassifier]] = {"vit": VisionTransformer, "bit": BiTResNet}

# What the constructors pass on.
COMMON_ARGUMENTS = ("channels", "preprocessing", "class_names", "name", "dtype", "trainable")


def create_model(
    variant: str,
    *,
    image_size: int | tuple[int, int] = 224,
    num_classes: int | None,
    **overrides: Any,
) -> ImageClassifier:
    """Make a model from its name in the literature, with fresh weights.

    Args:
        variant: "B/16" (size and patch), "R50+B/16" (hybrid), "Axial-B/32", "BiT-R50x1",
            "AxialResNet-50" or "BoTNet-50".
        image_size: height and width in pixels; one number: both.
        num_classes: classes of the head; None: no head, the model returns its features.
        **overrides: any other argument of `VisionTransformer` or `BiTResNet` (`classifier`,
            `dropout_rate`, ...), also in place of the variant's own numbers (`num_layers`,
            `width`, ...), and those of a Keras model (`name`, `dtype`).

    Returns:
        A built Keras model. Called on `[batch, height, width, 3]` float32 images in [-1, 1], it
        returns `[batch, num_classes]` float32 logits.

    Raises:
        ValueError: unknown variant, an argument that it does not have, or sizes that do not
            divide as they must.
    """
    model = parse_variant(variant)
    model_class = MODELS[model.architecture]
    known = {*inspect.signature(model_class).parameters, *COMMON_ARGUMENTS} - {"kwargs"}
    if foreign := sorted(set(overrides) - known):
        raise ValueError(
            f"{variant} has no {', '.join(foreign)}; it has "
            f"{', '.join(sorted(known - {'image_size', 'num_classes'}))}."
        )
    arguments = {**model.arguments, **overrides}
    return model_class(image_size=image_size, num_classes=num_classes, **arguments)
