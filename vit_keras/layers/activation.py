"""Activations of the MLPs: GELU in the three forms that checkpoints were trained with, and SiLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

Activation = Literal["gelu_tanh", "gelu", "quick_gelu", "silu"]

_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715


def gelu_tanh(x: Any) -> Any:
    """0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); any shape, dtype kept.

    GELU as the official ViT code has it, flax's default (Hendrycks and Gimpel, "Gaussian Error
    Linear Units", section 2).
    """
    # TensorFlow has no fused kernel for this form and differentiates it into a dozen passes over
    # the widest activations of the model. JAX fuses them and PyTorch has the kernel.
    if keras.config.backend() == "tensorflow":
        return _gelu_tanh_with_short_gradient(x)
    return ops.gelu(x, approximate=True)


def gelu(x: Any) -> Any:
    """0.5·x·(1 + erf(x/√2)): GELU itself, as in timm and Hugging Face; any shape, dtype kept."""
    if keras.config.backend() == "tensorflow":
        return _gelu_with_short_gradient(x)
    return ops.gelu(x, approximate=False)


def quick_gelu(x: Any) -> Any:
    """x·sigmoid(1.702·x), as in OpenAI's CLIP; any shape, dtype kept."""
    return x * ops.sigmoid(1.702 * x)


def silu(x: Any) -> Any:
    """x·sigmoid(x), the gate of SwiGLU; any shape, dtype kept."""
    return ops.silu(x)


@ops.custom_gradient
def _gelu_tanh_with_short_gradient(x: Any) -> Any:
    tanh = ops.tanh(x * (_TANH_SCALE + _TANH_SCALE * _TANH_CUBIC * x * x))

    def gradient(*args: Any, upstream: Any = None) -> Any:
        if upstream is None:
            (upstream,) = args
        slope = _TANH_SCALE + 3 * _TANH_SCALE * _TANH_CUBIC * x * x
        return upstream * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * slope)

    return 0.5 * x * (1 + tanh), gradient


@ops.custom_gradient
def _gelu_with_short_gradient(x: Any) -> Any:
    twice_share = 1 + ops.erf(x * math.sqrt(0.5))

    def gradient(*args: Any, upstream: Any = None) -> Any:
        if upstream is None:
            (upstream,) = args
        density = ops.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return upstream * (0.5 * twice_share + x * density)

    # In this order the LiteRT converter takes it for its own GELU; it has no erf besides.
    return (0.5 * x) * twice_share, gradient


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu_tanh": gelu_tanh,
    "gelu": gelu,
    "quick_gelu": quick_gelu,
    "silu": silu,
}


def check_activation(name: str) -> None:
    """Raise a ValueError unless there is such an activation."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {name!r}.")
