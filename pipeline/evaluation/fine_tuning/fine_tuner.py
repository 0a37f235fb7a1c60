"""Fine-tuning runs: the train step of `pipeline.training`, each time from the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from groundwork.errors import TrainingDiverged
from groundwork.progress import Progress
from pipeline.data.batches.distributed_batches import distributed_eval_batches
from pipeline.data.batches.mixing_draw import with_mixing
from pipeline.data.data_config import ViewConfig
from pipeline.data.dataset.split import Split
from pipeline.devices import strategy as strategies
from pipeline.evaluation.fine_tuning.fine_tune_batches import fine_tune_batches
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.fine_tuning.fine_tune_recipe import Recipe
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.step_config import StepConfig
from pipeline.training.step.train_step import make_train_step

REPORT_STEPS = 10
EVAL_BATCH = 64
"""Images of a replica."""


class FineTuner:
    """Fine-tunes one model again and again from the same weights, as a sweep of rates does.

    Attributes:
        model: has the weights of the latest run, averaged ones where they are asked for.
    """

    def __init__(
        self,
        load: Callable[[str], keras.Model],
        recipe: Recipe,
        config: FineTuneConfig,
        strategy: tf.distribute.Strategy,
    ):
        """Compile for runs that start from the weights that are loaded now.

        Args:
            load: gives the model, with a new head, for a Keras dtype policy.
            recipe: what a run does.
            config: settings; those that `recipe` has are taken from it.
            strategy: to train and predict under.

        Raises:
            UserError: the device does not have the precision.
        """
        settings = _step_config(recipe, config.accumulate)
        with strategy.scope():
            self.model = load(strategies.compute_policy(config.precision, strategy))
            self._state = TrainState(
                self.model, settings.optim, seed=0, ema_decay=config.polyak_decay
            )
            # A variable, so that the step is compiled once for all rates.
            self._peak_rate = tf.Variable(0.0, trainable=False)
        self._recipe = recipe
        self._flip = config.flip
        self._strategy = strategy
        self._view = settings.data
        self._initial = self.model.get_weights()
        self._train_step = make_train_step(
            strategy,
            self._state,
            settings,
            total_steps=recipe.steps,
            jit_compile=strategies.use_xla("auto", strategy),
            schedule=lambda step: recipe.learning_rate(step, self._peak_rate),
        )
        self._answer = tf.function(lambda images: strategy.run(self._predict, args=(images,)))

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
        state = self._state
        self._reset(peak_rate, seed)
        batches = iter(self._batches(split, seed))
        progress = Progress(label, self._recipe.steps)
        try:
            for step in range(self._recipe.steps):
                metrics = self._train_step(*next(batches))
                if step % REPORT_STEPS == 0 or step == self._recipe.steps - 1:
                    loss = float(metrics["loss"])
                    if not loss < float("inf"):
                        raise TrainingDiverged(
                            f"fine-tuning at rate {peak_rate:g}: loss {loss} at step {step}"
                        )
                    progress.update(step + 1, f"loss {loss:.3f}")
        finally:
            progress.close()
        state.take_averages()

    def predict(self, split: Split) -> dict[str, NDArray[Any]]:
        """Of every image, once each: the `probabilities` of the classes, float16 `[examples,
        classes]`, the `predictions`, int64 `[examples]`, and the `labels`."""
        parts = []
        batches = distributed_eval_batches(
            self._strategy,
            split,
            self._view,
            EVAL_BATCH * self._strategy.num_replicas_in_sync,
        )
        for images, labels, mask in batches:
            real = self._joined(mask) == 1
            answers = (*self._answer(images), labels)
            answer, probabilities, known = (self._joined(value)[real] for value in answers)
            # Half precision to keep: an evaluation on ImageNet has fifty million of them. Not by
            # TensorFlow, whose oneDNN complains of it on stderr where the CPU has no AVX-512.
            parts.append((answer, probabilities.astype(np.float16), known))
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return dict(zip(("predictions", "probabilities", "labels"), joined, strict=True))

    def _reset(self, peak_rate: float, seed: int) -> None:
        state = self._state
        self.model.set_weights(self._initial)
        for slot in state.optimizer.memory:
            slot.assign(tf.zeros_like(slot))
        state.adopt_weights()
        state.step.assign(0)
        state.seed.assign(seed)
        self._peak_rate.assign(peak_rate)

    def _batches(self, split: Split, seed: int) -> tf.distribute.DistributedDataset:
        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            share = context.get_per_replica_batch_size(self._recipe.batch_size)
            batches = fine_tune_batches(
                split, self._recipe, flip=self._flip, seed=seed, replica_batch_size=share
            )
            replicas = context.num_replicas_in_sync // context.num_input_pipelines
            return with_mixing(batches, self._view, seed=seed, first_step=0, replicas=replicas)

        return self._strategy.distribute_datasets_from_function(of_host)

    def _joined(self, value: tf.Tensor) -> NDArray[Any]:
        """A value of each replica as that of the global batch."""
        return np.concatenate(
            [part.numpy() for part in self._strategy.experimental_local_results(value)]
        )

    def _predict(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = tf.nn.softmax(tf.cast(self.model(images, training=False), tf.float32))
        return tf.argmax(probabilities, axis=-1), probabilities


def _step_config(recipe: Recipe, accumulate: int) -> StepConfig:
    """The recipe as the train step of `pipeline.training` wants it, but for the learning rate."""
    return StepConfig(
        data=ViewConfig(image_size=recipe.crop_size, mixup_alpha=recipe.mixup),
        optim=OptimConfig(optimizer="sgd", momentum=recipe.momentum, clip_norm=recipe.clip_norm),
        batch_size=recipe.batch_size,
        accumulate=accumulate,
    )
