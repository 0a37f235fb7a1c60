"""Open an export folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from etils import epath
from numpy.typing import NDArray

import vit_keras  # noqa: F401 - registers the layers that a .keras file names
from groundwork.errors import UserError, one_line
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.description import KERAS_FILE, Description, read_description
from pipeline.serving.local_copy import local_copy
from pipeline.serving.request_images import MAX_PIXELS, decode_request

NOT_AN_IMAGE = (
    "not a JPEG, PNG, GIF, BMP or WebP image, or damaged, or larger than "
    f"{MAX_PIXELS // 1_000_000} megapixels"
)
"""Why an image is not valid."""


@dataclass(frozen=True)
class Export:
    """An export folder whose files were checked against their digests."""

    folder: str
    description: Description

    @property
    def preprocess(self) -> EvalPreprocess:
        """From encoded bytes to what the model sees; the SavedModel holds the same."""
        return EvalPreprocess.from_config(self.description.preprocess)

    @cached_property
    def saved_model(self) -> tf.Module:
        """The SavedModel, loaded when first asked for."""
        return tf.saved_model.load(self.folder)

    def features(self, image_bytes: Sequence[bytes] | tf.Tensor) -> NDArray[np.float32]:
        """Pre-logits, float32 `[batch, width]`, of encoded images.

        Raises:
            UserError: one of them is too large, of no known format, or damaged.
        """
        answer = self.saved_model.signatures["features"](image_bytes=tf.constant(image_bytes))
        features: NDArray[np.float32] = answer["features"].numpy()
        bad = np.flatnonzero(~answer["valid"].numpy())
        if bad.size:
            raise UserError(f"image {bad[0]} of a batch of {len(features)} is {NOT_AN_IMAGE}")
        return features

    def probabilities(
        self, image_bytes: Sequence[bytes] | tf.Tensor
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Of each class, float32 `[batch, classes]`, for encoded images, and which of these are
        valid, bool `[batch]`; what is not has zeros."""
        answer = self.saved_model.signatures["serve"](image_bytes=tf.constant(image_bytes))
        return answer["probabilities"].numpy(), answer["valid"].numpy()

    def pixels(self, image_bytes: bytes) -> NDArray[np.float32] | None:
        """One encoded image as `serve` sees it, float32 `[height, width, 3]` in [-1, 1].

        None where `serve` would call it not valid.
        """
        images, valid = self._decode(tf.constant([image_bytes]))
        image: NDArray[np.float32] = images[0].numpy()
        return image if valid[0] else None

    @cached_property
    def _decode(self) -> tf.types.experimental.GenericFunction:
        preprocess = self.preprocess
        return tf.function(
            lambda image_bytes: decode_request(image_bytes, preprocess),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def keras_model(self) -> keras.Model:
        """A new instance of the model in the `.keras` file."""
        return keras.saving.load_model(Path(self.folder) / KERAS_FILE, compile=False)


def open_export(folder: str) -> Export:
    """Open an export folder; one at a URL is copied to this host.

    Raises:
        UserError: there is none, or it is damaged.
        StorageFault: the bucket cannot be reached.
    """
    path = epath.Path(local_copy(folder)).expanduser()
    if not path.is_dir():
        raise UserError(
            f"model folder {folder} does not exist: make it with python -m pipeline.export "
            f"--workdir RUN --output {folder}"
        )
    try:
        return Export(str(path), read_description(path))
    except OSError as error:
        raise UserError(f"cannot read {folder}: {one_line(error)}") from error
