"""Dropout of units and of residual branches, replayable from a seed per example."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from vit_keras.layers.noise import keep_mask


class _Noise(keras.layers.Layer):
    """What both layers share: the rate, and the scaling of what is kept.

    Neither holds a generator: the seeds come in with the call, so that a model has no state but
    its weights. A model that is called without seeds draws them once for all its layers.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1); got {rate}.")
        self.rate = rate

    def call(self, x: Any, training: bool | None = None, seeds: Any = None) -> Any:
        """Drop at random while training.

        Args:
            x: `[batch, ...]`, float.
            training: whether to drop.
            seeds: `[batch]` int32, one per example, from which the mask follows. Needed while
                training, unless `rate` is 0.
        """
        if self.rate == 0 or not training:
            return x
        if seeds is None:
            raise ValueError(
                f"{self.name} has rate {self.rate} and was called with training=True but without "
                "seeds: give one int32 per example, `seeds=...`."
            )
        mask = keep_mask(seeds, self._mask_shape(tuple(x.shape[1:])), self.rate)
        return x * (ops.cast(mask, x.dtype) / (1 - self.rate))

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable("vit_keras")
class Dropout(_Noise):
    """Sets each unit to 0 with probability `rate` and scales the others by 1/(1 - rate).

    Source: Srivastava et al., "Dropout", JMLR 15 (2014); places in the ViT paper, appendix B.1.
    """

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


@keras.saving.register_keras_serializable("vit_keras")
class StochasticDepth(_Noise):
    """Sets a whole residual branch of an example to 0 with probability `rate`; scales the others.

    Source: Huang et al., "Deep Networks with Stochastic Depth" (2016); for ViT, AugReg section 3.3.
    """

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1,) * len(shape)
