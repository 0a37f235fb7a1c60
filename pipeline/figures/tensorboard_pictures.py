"""Pictures that lie in files, in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf


def show_pictures(folder: str, pictures: Mapping[str, Path]) -> None:
    """Write picture files, by name, to the default summary writer, under `folder/NAME`."""
    for name, path in pictures.items():
        with PIL.Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        tf.summary.image(f"{folder}/{name}", pixels[None])
