"""One optimiser step, the same on one replica and on many.

Every replica runs forward and backward over its share of the global batch in microbatches; one
all-reduce sums gradients and metrics; clipping and the update see the sum. The gradient is that of
the mean loss over the global batch, whatever the number of replicas and microbatches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.errors import UserError
from pipeline.training.losses import cross_entropy
from pipeline.training.mixing import draw_mixing, mix_images, swap_pairs
from pipeline.training.schedule import learning_rate
from pipeline.training.train_state import TrainState

Metrics = dict[str, tf.Tensor]
TrainStep = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Metrics]
"""Distributed images, labels and seeds to the metrics of the step."""


def make_train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    config: PretrainConfig,
    *,
    total_steps: int,
    jit_compile: bool,
) -> TrainStep:
    """Compile the step.

    Returns:
        A function of a distributed batch: images `[batch, height, width, 3]` in [-1, 1], labels
        and per-example seeds `[batch]`. It updates `state` and returns float32 scalars: `loss`
        (mean over the global batch), `accuracy` (of mixed images: against the label that weighs
        more), `learning_rate` and `gradient_norm` (before clipping).

    Raises:
        UserError: images are mixed, and a replica's microbatch is odd.
    """
    data = config.data
    replicas = strategy.num_replicas_in_sync
    if data.mixes_images and config.batch_size // replicas // config.accumulate % 2:
        raise UserError(
            f"MixUp and CutMix mix pairs: batch_size {config.batch_size} gives {replicas} replicas "
            f"× accumulate {config.accumulate} an odd number each: choose a multiple of "
            f"{2 * replicas * config.accumulate}"
        )
    replica_step = make_replica_step(
        state, config, total_steps=total_steps, jit_compile=jit_compile
    )

    @tf.function
    def train_step(images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor) -> Metrics:
        batch: tuple[tf.Tensor, ...] = (images, labels, seeds)
        if data.mixes_images:
            # Outside of the replica, so on the host: XLA knows no gamma variables, and draws other
            # numbers from the same seed than what is not compiled.
            batch += draw_mixing(
                config.seed,
                state.step,
                data.height_width,
                data.augmentation.mixup_alpha,
                data.cutmix_alpha,
            )
        per_replica = strategy.run(replica_step, args=batch)
        state.step.assign_add(1)
        return {
            name: strategy.experimental_local_results(value)[0]
            for name, value in per_replica.items()
        }

    return train_step


def make_replica_step(
    state: TrainState, config: PretrainConfig, *, total_steps: int, jit_compile: bool
) -> Callable[..., Metrics]:
    """What each replica does, all of which a TPU compiles: it is run by `strategy.run`.

    Returns:
        A function of a replica's images, labels and seeds and, where images are mixed, of the
        step's `Mixing`. It updates the weights, moments and averages of `state`, not its step.
    """
    gradients_of = tf.function(
        lambda *batch: _accumulate(state, config, *batch),
        jit_compile=jit_compile,
    )

    def replica_step(*batch: tf.Tensor) -> Metrics:
        gradients, loss, correct = gradients_of(*batch)
        replica = tf.distribute.get_replica_context()
        *gradients, loss, correct = replica.all_reduce(
            tf.distribute.ReduceOp.SUM, [*gradients, loss, correct]
        )
        norm = tf.linalg.global_norm(gradients)
        if config.optim.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, config.optim.clip_norm, norm)
        rate = learning_rate(state.step, config.optim, total_steps)
        state.optimizer.apply(gradients, rate, state.step)
        state.update_ema()
        accuracy = correct / config.batch_size
        return {
            "loss": loss,
            "accuracy": accuracy,
            "learning_rate": rate,
            "gradient_norm": norm,
        }

    return replica_step


def _accumulate(
    state: TrainState,
    config: PretrainConfig,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    *mixing: tf.Tensor,
) -> tuple[Sequence[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Gradients, loss and correct answers of one replica, summed over its microbatches."""
    if config.accumulate == 1:
        return _microbatch(state, config, images, labels, seeds, *mixing)
    count = config.accumulate
    images = tf.reshape(images, [count, -1, *images.shape[1:]])
    labels, seeds = (tf.reshape(value, [count, -1]) for value in (labels, seeds))

    def add(index: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        gradients, loss, correct = _microbatch(
            state, config, images[index], labels[index], seeds[index], *mixing
        )
        return index + 1, *(
            total + term for total, term in zip(sums, [*gradients, loss, correct], strict=True)
        )

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in state.variables]
    start = (tf.constant(0), *zeros, tf.constant(0.0), tf.constant(0.0))
    _, *gradients, loss, correct = tf.while_loop(
        lambda index, *_: index < count, add, start, maximum_iterations=count
    )
    return gradients, loss, correct


def _microbatch(
    state: TrainState,
    config: PretrainConfig,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    *mixing: tf.Tensor,
) -> tuple[Sequence[tf.Tensor], tf.Tensor, tf.Tensor]:
    if mixing:
        keep, share = mixing
        images = mix_images(images, keep)
    with tf.GradientTape() as tape:
        logits = state.model(images, training=True, seeds=seeds)
        losses = cross_entropy(logits, labels, config.loss, config.label_smoothing)
        if mixing:  # the loss is linear in the target
            others = cross_entropy(logits, swap_pairs(labels), config.loss, config.label_smoothing)
            losses = share * losses + (1.0 - share) * others
        loss = tf.reduce_sum(losses) / config.batch_size
    gradients = tape.gradient(
        loss, state.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    hits = tf.equal(tf.argmax(logits, axis=-1), tf.cast(labels, tf.int64))
    return gradients, loss, tf.reduce_sum(tf.cast(hits, tf.float32))
