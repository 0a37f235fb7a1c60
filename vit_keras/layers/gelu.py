"""GELU in its tanh form, as the official ViT code has it (flax's `nn.gelu` default)."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def gelu(x: Any) -> Any:
    """0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); any shape, dtype kept.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2.
    """
    # TensorFlow has no fused kernel for this form and differentiates it into a dozen passes over
    # the widest activations of the model. JAX fuses them and PyTorch has the kernel.
    if keras.config.backend() == "tensorflow":
        return _gelu_with_short_gradient(x)
    return ops.gelu(x, approximate=True)


@ops.custom_gradient
def _gelu_with_short_gradient(x: Any) -> Any:
    tanh = ops.tanh(x * (_SCALE + _SCALE * _CUBIC * x * x))

    def gradient(*args: Any, upstream: Any = None) -> Any:
        if upstream is None:
            (upstream,) = args
        slope = _SCALE + 3 * _SCALE * _CUBIC * x * x
        return upstream * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * slope)

    return 0.5 * x * (1 + tanh), gradient
