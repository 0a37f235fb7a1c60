"""Accuracy and loss over a split, every image counted once on any number of replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.training.losses import cross_entropy
from pipeline.training.train_state import TrainState

Evaluate = Callable[[Iterable], dict[str, float]]


def make_evaluate(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    config: PretrainConfig,
    num_examples: int,
) -> Evaluate:
    """Compile the evaluation of `state`'s model, with averaged weights where the run keeps them.

    Returns:
        A function of distributed batches `(images, labels, mask)`, in which `mask` is 0 for
        padding. It returns `loss`, `accuracy` and `examples`.

    Raises:
        RuntimeError: the batches did not hold `num_examples` images.
    """

    def replica_sums(images: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        logits = state.model(images, training=False)
        losses = cross_entropy(logits, labels, config.loss)
        mask = tf.cast(mask, tf.float32)
        hits = tf.cast(tf.equal(tf.argmax(logits, axis=-1), tf.cast(labels, tf.int64)), tf.float32)
        sums = [tf.reduce_sum(value * mask) for value in (losses, hits, tf.ones_like(hits))]
        replica = tf.distribute.get_replica_context()
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)

    @tf.function
    def global_sums(images: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        per_replica = strategy.run(replica_sums, args=(images, labels, mask))
        return [strategy.experimental_local_results(value)[0] for value in per_replica]

    def evaluate(batches: Iterable) -> dict[str, float]:
        totals = [0.0, 0.0, 0.0]
        with state.averaged_weights():
            for batch in batches:
                sums = global_sums(*batch)
                totals = [total + float(term) for total, term in zip(totals, sums, strict=True)]
        loss, hits, examples = totals
        if examples != num_examples:
            raise RuntimeError(f"evaluated {examples:.0f} images of {num_examples}")
        return {"loss": loss / examples, "accuracy": hits / examples, "examples": examples}

    return evaluate
