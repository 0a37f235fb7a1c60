"""MixUp and CutMix inside the train step, the same on any number of replicas and microbatches.

Two neighbors of the global batch form a pair, and each takes part of the other's image. How much
is drawn once per step from (seed, step). big_vision rolls the batch by one place instead, so that
each image meets another partner on either side; which partner that is depends on how the batch is
cut into devices. Here every cut into parts of even size keeps the pairs, and `train_batches` lays
them out so that every number of hosts does too.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Mixing(NamedTuple):
    """What each image keeps in one step.

    Attributes:
        keep: float32 `[height, width, 1]`, share of the image's own pixels: the same everywhere
            (MixUp), or 0 in a box and 1 outside (CutMix).
        share: float32 scalar, mean of `keep`: the weight of the image's own label.
    """

    keep: tf.Tensor
    share: tf.Tensor


def draw_mixing(
    seed: int | tf.Tensor,
    step: tf.Tensor,
    size: tuple[int, int],
    mixup_alpha: float,
    cutmix_alpha: float,
) -> Mixing:
    """Draw the mixing of one step.

    λ follows Beta(alpha, alpha), and the larger of λ and 1 - λ is what an image keeps (as in
    big_vision): its own label outweighs the other. With both alphas above 0, each step does one of
    the two with probability one half.

    Args:
        seed: of the run.
        step: steps finished, integer scalar.
        size: height and width of the images.
        mixup_alpha: of MixUp (arXiv 1710.09412); 0: none.
        cutmix_alpha: of CutMix (arXiv 1905.04899); 0: none. The area that the box loses at the
            image's border goes to the image's own share.
    """
    seeds = tf.random.experimental.stateless_split(tf.stack([tf.cast(seed, tf.int64), step]), 4)
    if not cutmix_alpha:
        return _mixup(size, _larger_share(seeds[0], mixup_alpha))
    if not mixup_alpha:
        return _cutmix(size, _larger_share(seeds[1], cutmix_alpha), seeds[2])
    mixup = _mixup(size, _larger_share(seeds[0], mixup_alpha))
    cutmix = _cutmix(size, _larger_share(seeds[1], cutmix_alpha), seeds[2])
    first = tf.random.stateless_uniform([], seeds[3]) < 0.5
    return Mixing(*(tf.where(first, a, b) for a, b in zip(mixup, cutmix, strict=True)))


def mix_images(images: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    """Mix `[batch, height, width, 3]`, of even batch, pair by pair."""
    return keep * images + (1.0 - keep) * swap_pairs(images)


def swap_pairs(values: tf.Tensor) -> tf.Tensor:
    """Put each value in the place of its partner: `[batch, ...]`, of even batch."""
    pairs = tf.reshape(values, [-1, 2, *values.shape[1:]])
    return tf.reshape(pairs[:, ::-1], tf.shape(values))


def _larger_share(seed: tf.Tensor, alpha: float) -> tf.Tensor:
    # A quotient of gamma variables is a beta variable; float64, for they are tiny at small alpha.
    one, other = tf.unstack(tf.random.stateless_gamma([2], seed, alpha, dtype=tf.float64))
    share = tf.math.divide_no_nan(one, one + other)
    return tf.cast(tf.maximum(share, 1.0 - share), tf.float32)


def _mixup(size: tuple[int, int], share: tf.Tensor) -> Mixing:
    return Mixing(tf.fill([*size, 1], share), share)


def _cutmix(size: tuple[int, int], share: tf.Tensor, seed: tf.Tensor) -> Mixing:
    center = tf.random.stateless_uniform([2], seed)
    half = tf.sqrt(1.0 - share) / 2
    outside = []
    for axis, side in enumerate(size):
        place = (tf.range(side, dtype=tf.float32) + 0.5) / side
        outside.append(tf.abs(place - center[axis]) > half)
    keep = tf.cast(outside[0][:, None, None] | outside[1][None, :, None], tf.float32)
    return Mixing(keep, tf.reduce_mean(keep))
