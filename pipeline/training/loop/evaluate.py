"""Loss and scores over a split, every image counted once on any number of replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.process.interruptible import InterruptibleIterator
from pipeline.training.loop.confusion import Confusions, count_confusions
from pipeline.training.objectives.class_scores import ClassScores, class_scores
from pipeline.training.objectives.objective import make_objective
from pipeline.training.objectives.objective_options import ObjectiveOptions
from pipeline.training.state.train_state import TrainState


class Evaluation(NamedTuple):
    """One pass over the evaluation split."""

    metrics: dict[str, float]
    """`loss`, the objective's accuracies and `examples`; or what else is measured."""
    confusions: Confusions | None = None
    """What was taken for what; None where it was not asked for, or an image has not one class."""
    classes: ClassScores | None = None
    """How well each class is found; None where an image has one class, or none."""


Evaluate = Callable[[Iterable[tuple[tf.Tensor, ...]]], Evaluation]
ReadBatches = Callable[[Iterable[tuple[tf.Tensor, ...]]], InterruptibleIterator[Any]]
"""How batches are read, so that a signal can end the wait for one."""


class Evaluator(NamedTuple):
    """An evaluation that is made while training."""

    name: str
    """Of its scalars, as in NAME/accuracy."""
    every_steps: int | None
    """Steps between two; None: at the end alone."""
    evaluate: Callable[[ReadBatches], Evaluation]
    """Given how to read batches."""


def make_evaluate(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    options: ObjectiveOptions,
    num_examples: int,
    *,
    jit_compile: bool,
    confusions: bool = False,
) -> Evaluate:
    """Compile the evaluation of `state`'s model, with averaged weights where the run keeps them.

    Args:
        strategy: that the state lives on.
        state: what is evaluated.
        options: of what the run learns.
        num_examples: of the split.
        jit_compile: whether XLA compiles the forward pass.
        confusions: whether to count what is taken for what, too.

    Returns:
        A function of distributed batches `(images, labels, mask)`, in which `mask` is 0 for
        padding.

    Raises:
        RuntimeError: the batches did not hold `num_examples` images.
    """
    objective = make_objective(options, state.model)
    num_classes = getattr(state.model, "num_classes", None) or 0
    multi_label = options.objective == "multi_label"

    def scores(images: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        """Sums over a replica's images; and what is kept of each, -1 of padding: the pair `label *
        num_classes + answer`, or with several labels `[2, classes]`, labels and logits."""
        losses, hits, answers = objective.evaluation_scores(state.model, images, labels)
        mask = tf.cast(mask, tf.float32)[:, None]
        sums = [tf.reduce_sum(value * mask, axis=0) for value in (losses[:, None], hits, mask)]
        if answers is None or not (confusions or multi_label):
            return [*sums, tf.zeros(0, tf.int64)]
        if multi_label:
            there = tf.where(mask > 0, tf.cast(labels, tf.float32), -1.0)
            return [*sums, tf.stack([there, answers], axis=1)]
        pairs = tf.cast(labels, tf.int64) * num_classes + answers
        return [*sums, tf.where(mask[:, 0] > 0, pairs, -1)]

    compiled_scores = tf.function(scores, jit_compile=jit_compile)

    def replica_sums(*batch: tf.Tensor) -> list[tf.Tensor]:
        *sums, kept = compiled_scores(*batch)
        replica = tf.distribute.get_replica_context()
        sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
        return [*sums, replica.all_gather(kept, axis=0) if kept.shape[0] != 0 else kept]

    def add(totals: list[tf.Tensor], *batch: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        per_replica = strategy.run(replica_sums, args=batch)
        *sums, kept = [strategy.experimental_local_results(value)[0] for value in per_replica]
        return [total + term for total, term in zip(totals, sums, strict=True)], kept

    compiled_add = tf.function(add)

    def evaluate(batches: Iterable[tuple[tf.Tensor, ...]]) -> Evaluation:
        # Sums stay on the device. What is kept is fetched while the next batch is computed.
        sums = [tf.zeros(1), tf.zeros(objective.num_hits), tf.zeros(1)]
        fetched = []
        latest = tf.zeros(0, tf.int64)
        with state.averaged_weights():
            for batch in batches:
                before = latest
                sums, latest = compiled_add(sums, *batch)
                fetched.append(before.numpy())
            fetched.append(latest.numpy())
            totals = [total.numpy() for total in sums]
        loss, hits, examples = totals[0].item(), totals[1], totals[2].item()
        if examples != num_examples:
            raise RuntimeError(f"evaluated {examples:.0f} images of {num_examples}")
        accuracies = objective.accuracies(hits, examples)
        metrics = {
            "loss": loss / examples,
            **{name: float(value) for name, value in accuracies.items()},
            "examples": examples,
        }
        kept = np.concatenate([part for part in fetched if part.size] or [np.zeros(0)])
        if multi_label:
            kept = kept[kept[:, 0, 0] >= 0]
            classes = class_scores(kept[:, 1], kept[:, 0] > 0)
            return Evaluation(metrics | classes.means(), None, classes)
        return Evaluation(metrics, count_confusions(kept, num_classes) if kept.size else None)

    return evaluate
