"""Adafactor as big_vision trains large ViTs with it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipeline.training.optimizers.optimizer import Scalars, Slots, make_slot
from pipeline.training.optimizers.sgd import MomentumOptimizer

MIN_DIM_TO_FACTOR = 32
DECAY_EXPONENT = 0.8
MAX_DECAY = 0.999
EPSILON = 1e-30


class Adafactor(MomentumOptimizer):
    """Adafactor (arXiv 1804.04235) in the variant of scaling ViT (arXiv 2106.04560, section 3.4).

    The second moment of a matrix of at least 32 by 32 is kept as means over its rows and over its
    columns: nearly no memory. One update, with `t` updates finished before it:

        β₂ ← min(0.999, 1 − (t + 1)^−0.8)
        rows ← β₂ · rows + (1 − β₂) · mean of gradient² over the columns
        columns ← β₂ · columns + (1 − β₂) · mean of gradient² over the rows
        direction ← gradient / √(rows · columns / mean(rows))
        velocity ← momentum · velocity + (1 − momentum) · direction
        variable ← variable − rate · velocity

    Of a tensor of more dimensions, the two largest are factored. Unlike the original there is no
    clipping of the update, no scaling by the size of the parameter and no rate of its own, and
    there is momentum, in bfloat16 if `moment_dtype` says so. Queries, keys and values are one
    matrix here, so one factored moment; in big_vision they are three.
    """

    def _make_slots(self, variable: tf.Variable) -> Slots:
        slots = super()._make_slots(variable)
        axes = factored_axes(variable.shape.as_list())
        if axes is None:
            return slots | {"second_moment": make_slot(variable, "second_moment")}
        shape = variable.shape.as_list()
        for name, reduced in zip(("rows", "columns"), reversed(axes), strict=True):
            kept = [size for axis, size in enumerate(shape) if axis != reduced]
            slots[f"second_moment_{name}"] = make_slot(variable, f"second_moment_{name}", kept)
        return slots

    def _scalars(self, count: tf.Tensor) -> Scalars:
        return {"beta2": tf.minimum(MAX_DECAY, 1 - count**-DECAY_EXPONENT)}

    def _update(
        self,
        variable: tf.Variable,
        slots: Slots,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        scalars: Scalars,
    ) -> None:
        beta2 = scalars["beta2"]

        def average(slot: tf.Variable, value: tf.Tensor) -> tf.Tensor:
            return slot.assign(beta2 * slot + (1 - beta2) * value)

        squares = tf.square(gradient) + EPSILON
        axes = factored_axes(variable.shape.as_list())
        if axes is None:
            direction = gradient * tf.math.rsqrt(average(slots["second_moment"], squares))
        else:
            row_axis, column_axis = axes
            rows = average(slots["second_moment_rows"], tf.reduce_mean(squares, column_axis))
            columns = average(slots["second_moment_columns"], tf.reduce_mean(squares, row_axis))
            rows = tf.expand_dims(rows, column_axis)
            rows /= tf.reduce_mean(rows, row_axis, keepdims=True)
            columns = tf.expand_dims(columns, row_axis)
            direction = gradient * tf.math.rsqrt(rows) * tf.math.rsqrt(columns)
        velocity = self._accumulate(slots, direction, 1 - self._config.momentum)
        variable.assign_sub(rate * velocity)


def factored_axes(shape: list[int]) -> tuple[int, int] | None:
    """The second largest and the largest axis of `shape`; None where they are not factored."""
    if len(shape) < 2:
        return None
    *_, second, largest = np.argsort(shape, kind="stable").tolist()
    return (second, largest) if shape[second] >= MIN_DIM_TO_FACTOR else None
