"""Open an export folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from etils import epath

import vit_keras  # noqa: F401 - registers the layers that a .keras file names
from groundwork.errors import UserError, one_line
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.description import KERAS_FILE, Description, read_description


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

    def features(self, image_bytes: list[bytes]) -> np.ndarray:
        """Pre-logits, float32 `[batch, width]`, of encoded images."""
        answer = self.saved_model.signatures["features"](image_bytes=tf.constant(image_bytes))
        return answer["features"].numpy()

    def keras_model(self) -> keras.Model:
        """A new instance of the model in the `.keras` file."""
        return keras.saving.load_model(Path(self.folder) / KERAS_FILE, compile=False)


def open_export(folder: str) -> Export:
    """Open an export folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = epath.Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(
            f"model folder {folder} does not exist: make it with python -m pipeline.export "
            f"--workdir RUN --output {folder}"
        )
    try:
        return Export(str(path), read_description(path))
    except OSError as error:
        raise UserError(f"cannot read {folder}: {one_line(error)}") from error
