"""What turns the images of a downstream dataset into features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.loading import Export

Features = NDArray[np.float32]
Compute = Callable[[tf.Tensor], tf.Tensor]

RAW_PIXELS_SIDE = 32
"""Longest side of the raw-pixels baseline: larger ones cost memory and gain nothing."""


class Extractor(Protocol):
    """Encoded images to feature vectors."""

    @property
    def fingerprint(self) -> str:
        """Tells extractors with other answers apart."""

    def __call__(self, image_bytes: tf.Tensor) -> Features:
        """Encoded images, string `[batch]`, to float32 `[batch, width]`."""


@dataclass(frozen=True)
class SavedModelFeatures:
    """The exported model, through its SavedModel alone."""

    export: Export

    @property
    def fingerprint(self) -> str:
        """That of the SavedModel's files."""
        return self.export.description.fingerprint

    def __call__(self, image_bytes: tf.Tensor) -> Features:
        """Pre-logits."""
        return self.export.features(image_bytes)


@dataclass(frozen=True)
class ModelFeatures:
    """A Keras model, with the preprocessing that goes before it."""

    model: keras.Model
    preprocess: EvalPreprocess
    fingerprint: str

    @cached_property
    def _compute(self) -> Compute:
        return _compiled(self.preprocess, self.model.features)

    def __call__(self, image_bytes: tf.Tensor) -> Features:
        """Pre-logits."""
        features: Features = self._compute(image_bytes).numpy()
        return features


@dataclass(frozen=True)
class UntrainedFeatures:
    """The same architecture and preprocessing with fresh weights."""

    export: Export
    seed: int

    @property
    def fingerprint(self) -> str:
        """Of the architecture, preprocessing and seed."""
        description = self.export.description
        parts = (str(self._model.get_config()), str(description.preprocess), str(self.seed))
        return hashlib.sha256("\n".join(("untrained", *parts)).encode()).hexdigest()

    @cached_property
    def _model(self) -> keras.Model:
        trained = self.export.keras_model()
        keras.utils.set_random_seed(self.seed)
        return trained.__class__.from_config(trained.get_config())

    @cached_property
    def _compute(self) -> Compute:
        return _compiled(self.export.preprocess, self._model.features)

    def __call__(self, image_bytes: tf.Tensor) -> Features:
        """Pre-logits."""
        features: Features = self._compute(image_bytes).numpy()
        return features


@dataclass(frozen=True)
class RawPixels:
    """The pixels themselves, at the model's aspect and 32 pixels or less."""

    image_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width taken, in pixels."""
        scale = min(1.0, RAW_PIXELS_SIDE / max(self.image_size))
        height, width = (max(1, round(side * scale)) for side in self.image_size)
        return height, width

    @property
    def fingerprint(self) -> str:
        """Of the size."""
        return hashlib.sha256(f"raw_pixels {self.size}".encode()).hexdigest()

    @cached_property
    def _compute(self) -> Compute:
        return _compiled(EvalPreprocess(self.size), keras.layers.Flatten())

    def __call__(self, image_bytes: tf.Tensor) -> Features:
        """Pixels in [-1, 1]."""
        features: Features = self._compute(image_bytes).numpy()
        return features


def _compiled(preprocess: EvalPreprocess, features: Compute) -> Compute:
    image = tf.TensorSpec([*preprocess.image_size, 3], tf.float32)

    def compute(image_bytes: tf.Tensor) -> tf.Tensor:
        images = tf.map_fn(
            preprocess, image_bytes, fn_output_signature=image, parallel_iterations=16
        )
        return features(images)

    compiled: Compute = tf.function(compute, input_signature=[tf.TensorSpec([None], tf.string)])
    return compiled
