"""What a converted model must offer, whatever its format."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from groundwork.errors import UserError

Precision = Literal["float32", "float16", "int8"]
Runner = Callable[[np.ndarray], np.ndarray]
"""Images, float32 `[batch, height, width, 3]` in [-1, 1], to logits `[batch, classes]`."""


def require(module: str, install: str) -> Any:
    """Import a module of an optional package.

    Raises:
        UserError: it is not installed; gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"this needs a package that is not here: pip install {install}") from error
