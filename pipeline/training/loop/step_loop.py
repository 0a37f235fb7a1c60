"""Several train steps in one call: the host has less to do between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from pipeline.training.step.train_step import Metrics, TrainStep

StepLoop = Callable[[Iterator[tuple[tf.Tensor, ...]], int], Metrics]
"""A distributed iterator and a number of steps, at least 1, to the metrics `[steps]` of each."""


def make_step_loop(train_step: TrainStep) -> StepLoop:
    """Compile a loop around `train_step`, for any number of steps."""

    def run_steps(batches: Iterator[tuple[tf.Tensor, ...]], count: tf.Tensor) -> Metrics:
        metrics = train_step(*next(batches))
        names = sorted(metrics)
        rows = tf.TensorArray(tf.float32, size=count, element_shape=[len(names)])
        rows = rows.write(0, tf.stack([metrics[name] for name in names]))
        for index in tf.range(1, count):
            metrics = train_step(*next(batches))
            rows = rows.write(index, tf.stack([metrics[name] for name in names]))
        return dict(zip(names, tf.unstack(rows.stack(), axis=1), strict=True))

    compiled = tf.function(run_steps, reduce_retracing=True)
    return lambda batches, count: compiled(batches, tf.constant(count))
