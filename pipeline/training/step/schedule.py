"""Learning rate by step: linear warm-up, then decay, then perhaps a cool-down."""

from __future__ import annotations

import math

import tensorflow as tf

from pipeline.training.optimizers.optim_config import OptimConfig

HEAD_FIRST = 10.0
"""Times `peak_lr`, of a head that learns alone: it starts at zero, and has nothing to lose."""


def learning_rate(step: tf.Tensor, config: OptimConfig, total_steps: int) -> tf.Tensor:
    """The rate of the update that follows `step` finished ones (paper, Table 3).

    Warm-up reaches `peak_lr` at `warmup_steps`; cosine and linear decay reach `end_lr` at
    `total_steps`. Reciprocal square root (scaling ViT, arXiv 2106.04560, section 3.5) knows no end:

        peak_lr / √(1 + (step − warmup_steps) / rsqrt_timescale)

    In the first `head_first_steps`, in which the head alone learns, it is ten times `peak_lr`; all
    else counts from there.

    A cool-down of `cooldown_steps` lets any of them fall linearly to 0 over the last steps, as in
    big_vision.

    Args:
        step: integer scalar, from 0.
        config: warm-up, peak, shape and end.
        total_steps: of the whole run.

    Returns:
        float32 scalar.
    """
    alone = config.head_first_steps
    progress = tf.cast(step - alone, tf.float32)
    total_steps = max(1, total_steps - alone)
    warmup = min(config.warmup_steps, total_steps)
    remaining = max(1, total_steps - warmup)
    done = tf.clip_by_value((progress - warmup) / remaining, 0.0, 1.0)
    if config.decay == "constant":
        decayed = tf.constant(config.peak_lr)
    elif config.decay == "rsqrt":
        since = tf.maximum(progress - warmup, 0.0)
        decayed = config.peak_lr * tf.math.rsqrt(1 + since / config.rsqrt_timescale)
    else:
        share = 1 - done if config.decay == "linear" else (1 + tf.cos(math.pi * done)) / 2
        decayed = config.end_lr + (config.peak_lr - config.end_lr) * share
    warming = config.peak_lr * progress / max(1, warmup)
    rate = tf.where(progress < warmup, warming, decayed)
    if config.cooldown_steps:
        rate *= tf.clip_by_value((total_steps - progress) / config.cooldown_steps, 0.0, 1.0)
    if alone:
        rate = tf.where(progress < 0, HEAD_FIRST * config.peak_lr, rate)
    return rate
