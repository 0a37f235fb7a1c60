"""The model that a configuration describes."""

from __future__ import annotations

from dataclasses import asdict

import keras

import vit_keras
from groundwork.errors import UserError, one_line
from pipeline.training.model.model_config import ModelConfig


def build_model(
    config: ModelConfig,
    image_size: tuple[int, int],
    num_classes: int | None,
    *,
    seed: int,
    policy: str = "float32",
) -> keras.Model:
    """Make a model.

    Args:
        config: the variant, and what differs from it.
        image_size: height and width in pixels.
        seed: its weights are drawn from.
        num_classes: outputs of the head; None: no head.
        policy: Keras dtype policy, such as mixed_bfloat16; weights are float32 always.

    Raises:
        UserError: the architecture cannot be, such as an image size that patches do not divide.
    """
    chosen = asdict(config)
    variant = chosen.pop("variant")
    # What is not given is not passed: a ResNet knows no class token or dropout.
    options = {name: value for name, value in chosen.items() if value is not None}
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(policy)
    try:
        return vit_keras.create_model(
            variant, image_size=image_size, num_classes=num_classes, **options
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"model: {one_line(error, None)}") from error
    finally:
        keras.config.set_dtype_policy("float32")
