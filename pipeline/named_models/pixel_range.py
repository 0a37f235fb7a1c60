"""A model that takes pixels in [-1, 1], of one that was trained on others.

All of the pipeline gives its models pixels in [-1, 1]: training, evaluation and exports. What a
published model wants instead, (pixel/255 - mean) / deviation per channel, is a linear function of
them, which goes into the patch embedding: exactly, since its patches do not overlap the border.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from groundwork.errors import UserError
from vit_keras import Preprocessing, VisionTransformer
from vit_keras.image_classifier import ImageClassifier

COLORS = 3


def in_pipeline_range(model: ImageClassifier, name: str) -> ImageClassifier:
    """A model with the same answers whose pixels are in [-1, 1]; it may be `model` itself, changed.

    Args:
        model: with its weights.
        name: what to call it in messages.

    Raises:
        UserError: a model of other than colored images; or a ResNet or hybrid on other pixels,
            whose convolutions see the border.
    """
    if model.channels != COLORS:
        raise UserError(
            f"{name} takes images of {model.channels} channels, and the commands have {COLORS}: "
            "train and use it in Keras"
        )
    wanted, ours = model.preprocessing, Preprocessing()
    if (wanted.mean, wanted.deviation) == (ours.mean, ours.deviation):
        return model
    if not isinstance(model, VisionTransformer) or model.stem is not None:
        raise UserError(
            f"{name} takes pixels with mean {wanted.mean} and deviation {wanted.deviation}, which "
            "a model that is no plain ViT cannot be given here: use vit_keras.from_pretrained and "
            "vit_keras.preprocess in Python"
        )
    if not model.patch_bias:
        model = _with_patch_bias(model)
    kernel, bias = model.patch_embedding.kernel, model.patch_embedding.bias
    # x = (p - mean) / deviation and p = (y + 1) / 2, for y in [-1, 1]
    mean, deviation = np.asarray(wanted.mean), np.asarray(wanted.deviation)
    values = np.asarray(kernel, np.float64)
    shift = values * ((0.5 - mean) / deviation)[:, None]
    kernel.assign((values * (0.5 / deviation)[:, None]).astype(np.float32))
    before = np.asarray(bias, np.float64)
    bias.assign((before + shift.sum(axis=(0, 1, 2))).astype(np.float32))
    model.preprocessing = replace(wanted, mean=ours.mean, deviation=ours.deviation)
    return model


def _with_patch_bias(model: VisionTransformer) -> VisionTransformer:
    copy: VisionTransformer = VisionTransformer.from_config(
        {**model.get_config(), "patch_bias": True}
    )
    values = {weight.path: weight for weight in model.weights}
    for weight in copy.weights:
        if weight.path in values:  # the new bias is zero already
            weight.assign(values[weight.path])
    return copy
