"""Sharpness-aware minimization (SAM, arXiv 2010.01412; of ViTs, arXiv 2106.01548)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf

from pipeline.training.optimizers.own_copy import own_copy


@contextmanager
def worst_weights_nearby(
    variables: Sequence[tf.Variable], gradients: Sequence[tf.Tensor], rho: float
) -> Iterator[None]:
    """Within it the weights are where the loss is highest within `rho`, to first order:

        weights + rho · gradients / ‖gradients‖₂

    Args:
        variables: the weights; used from within a replica.
        gradients: of the global batch, times any number: one perturbation for all replicas. (The
            paper lets each of its m parts of the batch have its own; then the result depends on
            their number.)
        rho: radius.
    """
    originals = [tf.identity(variable) for variable in variables]
    gradients = [tf.cast(gradient, tf.float32) for gradient in gradients]
    length = tf.maximum(tf.linalg.global_norm(gradients), 1e-12)
    moved = [
        weight + (rho / length) * gradient
        for weight, gradient in zip(originals, gradients, strict=True)
    ]
    _assign(variables, moved)
    yield
    _assign(variables, originals)


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        own_copy(variable).assign(value)
