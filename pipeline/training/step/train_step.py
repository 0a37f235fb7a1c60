"""One optimizer step, the same on one replica and on many.

Every replica runs forward and backward over its share of the global batch in microbatches; one
all-reduce sums gradients and metrics; clipping and the update see the sum. The gradient is that of
the mean loss over the global batch, whatever the number of replicas and microbatches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.training.objectives.objective import make_objective
from pipeline.training.objectives.patch_sizes import drawn_patch_size
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.gradients import make_batch_gradient
from pipeline.training.step.schedule import learning_rate
from pipeline.training.step.sharpness import worst_weights_nearby
from pipeline.training.step.step_config import StepConfig

Metrics = dict[str, tf.Tensor]
TrainStep = Callable[..., Metrics]
"""Distributed images, labels, seeds and perhaps `Mixing` to the metrics of the step."""
OWN_SECONDS = "own_seconds"
"""Metric of a worker, in which the workers differ: its time up to the all-reduce."""
Schedule = Callable[[tf.Tensor], tf.Tensor]
"""Finished steps, integer scalar, to the learning rate, float32 scalar."""


def make_train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    config: StepConfig,
    *,
    total_steps: int,
    jit_compile: bool,
    class_weights: Sequence[float] | None = None,
    schedule: Schedule | None = None,
    teacher: keras.Model | None = None,
) -> TrainStep:
    """Compile the step.

    Args:
        strategy: that `state` was created under.
        state: what the step changes.
        config: of the run.
        total_steps: of the whole run, for the learning rate.
        jit_compile: whether XLA compiles what comes before the all-reduce, and what comes after
            it; with one replica, both as one.
        class_weights: factor of the loss of each class; None: 1.
        schedule: the learning rate; None: that of `config.optim` over `total_steps`.
        teacher: of `config.distillation`, created under the same strategy.

    Returns:
        A function of a distributed batch, as of `train_batches`: images `[batch, height, width,
        3]`, uint8 or float32 in [-1, 1], labels and per-example seeds `[batch]`, and the step's
        `Mixing` where images are mixed. It updates `state` and returns float32 scalars: `loss`
        (mean over the global batch), `accuracy` (of mixed images: against the label that weighs
        more), from 6 classes on `accuracy_top5`, `learning_rate` and `gradient_norm` (before
        clipping); with several workers OWN_SECONDS.
    """
    alone = strategy.num_replicas_in_sync == 1
    whole = jit_compile and alone and state.optimizer.changes_own_copies
    several_workers = strategy.extended._in_multi_worker_mode() and not alone
    own: list[int | None] = [None]
    replica_steps = [
        make_replica_step(
            state,
            config,
            total_steps=total_steps,
            jit_compile=jit_compile and not whole,
            class_weights=class_weights,
            schedule=schedule,
            teacher=teacher,
            patch_size=patch_size,
            timed=several_workers,
        )
        for patch_size in config.patch_sizes or own
    ]
    if whole:
        replica_steps = [tf.function(one, jit_compile=True) for one in replica_steps]

    def run(replica_step: Callable[..., Metrics], batch: tuple[tf.Tensor, ...]) -> Metrics:
        per_replica = strategy.run(replica_step, args=batch)
        local = {
            name: strategy.experimental_local_results(value) for name, value in per_replica.items()
        }
        metrics = {name: values[0] for name, values in local.items()}
        if several_workers:
            metrics[OWN_SECONDS] = tf.reduce_max(local[OWN_SECONDS])
        return metrics

    def train_step(*batch: tf.Tensor) -> Metrics:
        if len(replica_steps) == 1:
            metrics = run(replica_steps[0], batch)
        else:  # a program for each patch size, of which the host chooses
            size = drawn_patch_size(state.seed, state.step, len(replica_steps))
            branches = [partial(run, replica_step, batch) for replica_step in replica_steps]
            metrics = tf.switch_case(size, branches)
        state.step.assign_add(1)
        if state.loss_scale is not None:
            state.loss_scale.update(tf.math.is_finite(metrics["gradient_norm"]))
        return metrics

    compiled: TrainStep = tf.function(train_step)
    return compiled


def make_replica_step(
    state: TrainState,
    config: StepConfig,
    *,
    total_steps: int,
    jit_compile: bool,
    class_weights: Sequence[float] | None = None,
    schedule: Schedule | None = None,
    teacher: keras.Model | None = None,
    patch_size: int | None = None,
    timed: bool = False,
) -> Callable[..., Metrics]:
    """What each replica does, all of which a TPU compiles: it is run by `strategy.run`.

    It trains at `patch_size`; None: the model's own. With `jit_compile` XLA compiles it in two
    parts, between which the replicas sum. `timed` adds OWN_SECONDS, the time of the first part, to
    the metrics.

    Returns:
        A function of a replica's images, labels and seeds and, where images are mixed, of the
        step's `Mixing`. It updates the weights, moments and averages of `state`, not its step.

    Raises:
        UserError: `config` has a distillation, and there is no teacher.
    """
    if config.distillation is not None and teacher is None:
        raise UserError(
            "distillation: only training opens the teacher: leave it out here, with "
            "--distillation null"
        )
    optim = config.optim
    objective = make_objective(config, state.model, class_weights, teacher, patch_size)
    rate_after = schedule or partial(learning_rate, config=optim, total_steps=total_steps)
    batch_gradient = make_batch_gradient(
        state, config, objective, jit_compile=jit_compile, timed=timed
    )

    def update(gradients: list[tf.Tensor], loss: tf.Tensor, hits: tf.Tensor) -> Metrics:
        """What follows from the sums over the replicas."""
        gradients = [tf.cast(gradient, tf.float32) for gradient in gradients]
        if state.loss_scale is not None:
            gradients = [gradient / state.loss_scale.scale for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        if optim.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, optim.clip_norm, norm)
        rate = rate_after(state.step)
        metrics = {
            "loss": loss,
            **objective.accuracies(hits, config.batch_size),
            "learning_rate": rate,
            "gradient_norm": norm,
        }
        updates, finite = state.step, None
        if state.loss_scale is not None:
            metrics["loss_scale"] = tf.identity(state.loss_scale.scale)
            updates = updates - state.loss_scale.skipped_steps
            finite = tf.math.is_finite(norm)
        state.optimizer.apply(gradients, rate, updates, condition=finite)
        state.update_ema()
        return metrics

    def replica_step(*batch: tf.Tensor) -> Metrics:
        gradients, loss, hits, seconds = batch_gradient(*batch)
        if optim.sam_rho is not None:
            with worst_weights_nearby(state.variables, gradients, optim.sam_rho):
                gradients = batch_gradient(*batch).gradients
        # Compiled for each replica by itself, as it changes that replica's copies.
        apart = jit_compile and state.optimizer.changes_own_copies
        compiled = tf.function(update, jit_compile=True) if apart else update
        metrics: Metrics = compiled(gradients, loss, hits)
        return metrics | {OWN_SECONDS: seconds} if timed else metrics

    return replica_step
