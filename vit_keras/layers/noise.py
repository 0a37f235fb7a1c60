"""Random masks that are a function of a seed per example, whatever batch the example is in.

Ordinary dropout draws one mask for the batch it is given, so that the mask of an image depends on
how the global batch is cut into replicas and microbatches. Here the mask of an example follows
from that example's seed alone: training on 1, 2 or 4 replicas, and a resumed run, drop the same
units. The hash is the finalizer of MurmurHash3 (public domain) in wrapping 32-bit arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops


def fold_in(seeds: Any, number: int) -> Any:
    """Derive other seeds, `[batch]` int32, for the part of the model that `number` stands for.

    No seeds (None) give none.
    """
    if seeds is None:
        return None
    return _mix(ops.bitwise_xor(ops.cast(seeds, "int32"), _int32(0x9E3779B9 * (number + 1))))


def keep_mask(seeds: Any, shape: tuple[int, ...], drop_rate: float) -> Any:
    """Draw which entries to keep.

    Args:
        seeds: `[batch]` int32, one per example.
        shape: shape of one example's mask.
        drop_rate: probability that an entry is False, in [0, 1).

    Returns:
        `[batch, *shape]` bool.
    """
    return ops.greater_equal(_bits(seeds, shape), _int32(round(drop_rate * 2**32) - 2**31))


def uniform(seeds: Any, shape: tuple[int, ...]) -> Any:
    """Draw numbers in [0, 1).

    Args:
        seeds: `[batch]` int32, one per example.
        shape: shape of one example's numbers.

    Returns:
        `[batch, *shape]` float32.
    """
    # 24 bits fill a float32 exactly; more could round up to 1.
    return ops.cast(_shift(_bits(seeds, shape), 8), "float32") * 2.0**-24


def _bits(seeds: Any, shape: tuple[int, ...]) -> Any:
    """`[batch, *shape]` int32, every bit random."""
    count = math.prod(shape)
    # The position is hashed before it meets the seed, so that examples with nearby seeds do not
    # get shifted copies of one mask. It is a constant of the graph.
    positions = ops.reshape(_mix(ops.arange(1, count + 1, dtype="int32")), shape)
    seeds = ops.reshape(ops.cast(seeds, "int32"), (-1,) + (1,) * len(shape))
    return _mix(ops.bitwise_xor(seeds, positions))


def _mix(x: Any) -> Any:
    x = ops.multiply(ops.bitwise_xor(x, _shift(x, 16)), _int32(0x85EBCA6B))
    x = ops.multiply(ops.bitwise_xor(x, _shift(x, 13)), _int32(0xC2B2AE35))
    return ops.bitwise_xor(x, _shift(x, 16))


def _shift(x: Any, bits: int) -> Any:
    # int32 shifts right with its sign; the mask makes the shift logical.
    shifted = ops.bitwise_right_shift(x, _int32(bits))
    return ops.bitwise_and(shifted, _int32((1 << (32 - bits)) - 1))


def _int32(value: int) -> Any:
    wrapped = (value + 2**31) % 2**32 - 2**31
    return ops.convert_to_tensor(np.int32(wrapped), dtype="int32")
