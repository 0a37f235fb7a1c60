"""Fine-tuning runs: SGD with momentum on all weights, on one device."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from pipeline.data.eval_batches import eval_batches
from pipeline.data.source import Split
from pipeline.errors import TrainingDiverged
from pipeline.evaluation.fine_tuning.inputs import eval_preprocess, fine_tune_batches
from pipeline.evaluation.fine_tuning.recipe import Recipe
from pipeline.training.progress import Progress

REPORT_STEPS = 10
EVAL_BATCH = 64


class MomentumState:
    """What a run changes beside the weights: velocities and, optionally, averages."""

    def __init__(self, model: keras.Model, polyak_decay: float | None):
        """Make the slots of `model`'s trainable weights."""
        self.variables = [weight.value for weight in model.trainable_variables]
        self.velocities = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self.variables]
        self.decay = polyak_decay
        self.averages = (
            [tf.Variable(v, trainable=False) for v in self.variables] if polyak_decay else []
        )

    def apply(self, gradients: list[tf.Tensor], rate: tf.Tensor, momentum: float) -> None:
        """velocity ← momentum · velocity + gradient; weight ← weight - rate · velocity."""
        for variable, velocity, gradient in zip(
            self.variables, self.velocities, gradients, strict=True
        ):
            velocity.assign(momentum * velocity + gradient)
            variable.assign_sub(rate * velocity)
        if self.decay is not None:
            for average, variable in zip(self.averages, self.variables, strict=True):
                average.assign_sub((1.0 - self.decay) * (average - variable))

    def reset(self) -> None:
        """Begin a run with the weights as they are."""
        for velocity in self.velocities:
            velocity.assign(tf.zeros_like(velocity))
        for average, variable in zip(self.averages, self.variables, strict=False):
            average.assign(variable)

    def take_averages(self) -> None:
        """Put the averages, where there are any, in place of the weights."""
        for variable, average in zip(self.variables, self.averages, strict=False):
            variable.assign(average)


class FineTuner:
    """Fine-tunes one model again and again from the same weights, as a sweep of rates does.

    Attributes:
        model: has the weights of the latest run.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        *,
        flip: bool = True,
        accumulate: int = 1,
        polyak_decay: float | None = None,
    ):
        """Compile for runs that start from the weights that `model` has now.

        Args:
            model: with a new head.
            recipe: what a run does.
            flip: whether to mirror half of the images.
            accumulate: microbatches per batch; must divide it.
            polyak_decay: of averaged weights, which the model has at the end; None: none.
        """
        self.model = model
        self._recipe = recipe
        self._flip = flip
        self._accumulate = accumulate
        self._initial = model.get_weights()
        self._state = MomentumState(model, polyak_decay)
        # Compiled once for all rates and seeds.
        self._train_step = tf.function(self._step)
        self._answer = tf.function(self._predict, reduce_retracing=True)

    def run(self, split: Split, peak_rate: float, seed: int, label: str = "fine-tuning") -> None:
        """Train all weights on `split` with the softmax cross-entropy.

        Args:
            split: training images.
            peak_rate: learning rate after warm-up.
            seed: of the order, augmentation, dropout and MixUp.
            label: shown before the progress.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        self.model.set_weights(self._initial)
        self._state.reset()
        settings = (tf.constant(peak_rate, tf.float32), tf.constant(seed, tf.int64))
        batches = iter(fine_tune_batches(split, self._recipe, flip=self._flip, seed=seed))
        progress = Progress(label, self._recipe.steps)
        try:
            for step in range(self._recipe.steps):
                loss = self._train_step(tf.constant(step, tf.int64), *settings, *next(batches))
                if step % REPORT_STEPS == 0 or step == self._recipe.steps - 1:
                    value = float(loss)
                    if not value < float("inf"):
                        raise TrainingDiverged(
                            f"fine-tuning at rate {peak_rate:g}: loss {value} at step {step}"
                        )
                    progress.update(step + 1, f"loss {value:.3f}")
        finally:
            progress.close()
        self._state.take_averages()

    def predict(self, split: Split) -> dict[str, np.ndarray]:
        """Predictions, confidences and labels, `[examples]`, of every image, once each."""
        parts = []
        for images, labels, mask in eval_batches(split, eval_preprocess(self._recipe), EVAL_BATCH):
            real = mask.numpy() == 1
            answers = (*self._answer(images), labels)
            parts.append([answer.numpy()[real] for answer in answers])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return dict(zip(("predictions", "confidences", "labels"), columns, strict=True))

    def _predict(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = tf.nn.softmax(tf.cast(self.model(images, training=False), tf.float32))
        return tf.argmax(probabilities, axis=-1), tf.reduce_max(probabilities, axis=-1)

    def _step(
        self,
        step: tf.Tensor,
        peak_rate: tf.Tensor,
        seed: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
    ) -> tf.Tensor:
        recipe = self._recipe
        targets = tf.one_hot(labels, self.model.num_classes)
        if recipe.mixup:
            images, targets = mix(images, targets, recipe.mixup, tf.stack([seed, step]))
        batch = (images, targets, seeds)
        parts = zip(*(tf.split(part, self._accumulate) for part in batch), strict=True)
        gradients, loss = self._gradients(*next(parts))
        for part in parts:
            # One after the other: side by side they would take the memory that they are to save.
            with tf.control_dependencies(gradients):
                more, part_loss = self._gradients(*part)
            gradients = [total + term for total, term in zip(gradients, more, strict=True)]
            loss += part_loss
        if recipe.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, recipe.clip_norm)
        self._state.apply(gradients, recipe.learning_rate(step, peak_rate), recipe.momentum)
        return loss

    def _gradients(
        self, images: tf.Tensor, targets: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True, seeds=seeds)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(losses) / self._recipe.batch_size
        unused = tf.UnconnectedGradients.ZERO
        return tape.gradient(loss, self._state.variables, unconnected_gradients=unused), loss


def mix(
    images: tf.Tensor, targets: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """MixUp (Zhang et al. 2018) of each example with the next, one share for the batch.

    Args:
        images: `[batch, ...]`.
        targets: `[batch, classes]`.
        alpha: both parameters of the Beta distribution.
        seed: two integers.

    Returns:
        Mixed images and targets. The larger share, at least one half, stays with the example.
    """
    gamma = tf.random.stateless_gamma([2], tf.cast(seed, tf.int32), alpha=alpha)
    share = tf.reduce_max(gamma) / tf.reduce_sum(gamma)
    mixed = (
        share * part + (1.0 - share) * tf.roll(part, shift=1, axis=0) for part in (images, targets)
    )
    return tuple(mixed)
