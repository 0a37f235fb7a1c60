"""How much MixUp and CutMix take of each image in a step, drawn once from (seed, step).

It is drawn where batches are made, and comes with them: XLA knows no gamma variables, and no step
waits until the device has told its number.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from pipeline.data.data_config import ViewConfig


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


def with_mixing(
    batches: tf.data.Dataset, view: ViewConfig, *, seed: int, first_step: int, replicas: int
) -> tf.data.Dataset:
    """Add the `Mixing` of its step to each batch `(images, labels, seeds)`, where there is any.

    Args:
        batches: each for one replica of a host; `replicas` that follow each other are of one step.
        view: how images are mixed.
        seed: of the run.
        first_step: steps finished before the first batch.
        replicas: of the host.
    """
    if not view.mixes_images:
        return batches

    def add(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        alphas = (view.augmentation.mixup_alpha, view.cutmix_alpha)
        step = first_step + number // replicas
        return (*batch, *draw_mixing(seed, step, view.height_width, *alphas))

    return batches.enumerate().map(add)


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
