"""The fine-tuning protocol: sweep of learning rates on the dev split, then the final runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.data.eval_batches import eval_batches
from pipeline.data.preprocess import EvalPreprocess, decode_rgb
from pipeline.data.source import Split
from pipeline.errors import UserError
from pipeline.evaluation.config import FineTuneConfig
from pipeline.evaluation.fine_tuning.inputs import eval_preprocess
from pipeline.evaluation.fine_tuning.recipe import Recipe, learning_rates, make_recipe
from pipeline.evaluation.fine_tuning.training import FineTuner
from pipeline.evaluation.protocols import Outcome, accuracy, score
from pipeline.evaluation.subject import Subject
from pipeline.evaluation.task import Task, check_labels

FIRST_IMAGES = 16


@dataclass(frozen=True)
class FinalModel:
    """The fine-tuned model of the first seed."""

    model: keras.Model
    preprocess: EvalPreprocess


def run_fine_tuning(
    subject: Subject,
    task: Task,
    config: FineTuneConfig,
    folder: Path,
    keep_model: Callable[[FinalModel], None] | None = None,
) -> Outcome:
    """Fine-tune and measure; runs that an earlier call finished are not repeated.

    Args:
        subject: the pre-trained model.
        task: the downstream dataset.
        config: settings.
        folder: keeps the predictions of each finished run.
        keep_model: is given the final model of the first seed, unless that run is not repeated.

    Returns:
        The score, and the test predictions and confidences of the first seed.

    Raises:
        UserError: settings that do not fit the dataset or the model.
        TrainingDiverged: a final run's loss is not finite.
    """
    final_split = task.final_split()
    area = _inspect(task, final_split)
    recipe = make_recipe(config, final_split.num_examples, area)
    if recipe.batch_size % config.accumulate:
        raise UserError(
            f"fine_tune.accumulate {config.accumulate} does not divide the batch of "
            f"{recipe.batch_size} images: choose a divisor of it"
        )
    runs = _Runs(subject, recipe, len(task.class_names), config, folder)
    rate, dev_accuracies = _choose_rate(runs, task, config)
    results = []
    for seed in config.seeds:
        keep = keep_model if seed == config.seeds[0] else None
        results.append(runs.run(final_split, task.test, rate, seed, "final", keep))
    labels = results[0]["labels"]
    accuracies = [accuracy(result["predictions"], labels) for result in results]
    chosen = {"learning_rate": rate, "steps": float(recipe.steps)} | {
        f"dev accuracy at {tried:g}": value for tried, value in dev_accuracies.items()
    }
    final = score(accuracies, **chosen)
    return Outcome(
        {config.recipe: final}, results[0]["predictions"], labels, results[0]["confidences"]
    )


def _choose_rate(
    runs: _Runs, task: Task, config: FineTuneConfig
) -> tuple[float, dict[float, float]]:
    """The best peak rate on the dev split, and the accuracy there of each that was tried."""
    rates = learning_rates(config)
    if len(rates) == 1:
        return rates[0], {}
    fit, dev = task.tuning_splits()
    accuracies = {}
    for rate in rates:
        result = runs.run(fit, dev, rate, config.seeds[0], f"sweep, rate {rate:g}")
        accuracies[rate] = accuracy(result["predictions"], result["labels"])
    return max(rates, key=lambda rate: (accuracies[rate], -rate)), accuracies


@dataclass(frozen=True)
class _Runs:
    """Runs of one recipe on one model, each stored when finished."""

    subject: Subject
    recipe: Recipe
    num_classes: int
    config: FineTuneConfig
    folder: Path

    @cached_property
    def tuner(self) -> FineTuner:
        """Made when the first run is not stored yet."""
        return FineTuner(
            self.subject.load(self.recipe.crop_size, self.num_classes),
            self.recipe,
            flip=self.config.flip,
            accumulate=self.config.accumulate,
            polyak_decay=self.config.polyak_decay,
        )

    def run(
        self,
        train: Split,
        test: Split,
        rate: float,
        seed: int,
        label: str,
        keep_model: Callable[[FinalModel], None] | None = None,
    ) -> dict[str, np.ndarray]:
        """Fine-tune on `train`; predictions, confidences and labels on `test`."""
        path = self.folder / f"{self._key(train, test, rate, seed)}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        self.tuner.run(train, rate, seed, f"fine-tuning, {label}")
        result = self.tuner.predict(test)
        if keep_model is not None:
            keep_model(FinalModel(self.tuner.model, eval_preprocess(self.recipe)))
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, **result)  # type: ignore[arg-type]
        unfinished.rename(path)
        return result

    def _key(self, train: Split, test: Split, rate: float, seed: int) -> str:
        facts = [
            self.subject.fingerprint,
            train.fingerprint,
            test.fingerprint,
            asdict(self.recipe),
            [self.num_classes, rate, seed],
            [self.config.flip, self.config.accumulate, self.config.polyak_decay],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _inspect(task: Task, train: Split) -> int:
    """Median area, in pixels, of the first training images; checks the first labels.

    Raises:
        UserError: examples without label.
    """

    def area(encoded: tf.Tensor) -> tf.Tensor:
        return tf.reduce_prod(tf.shape(decode_rgb(encoded))[:2])

    for split in (task.test, train):
        count = min(FIRST_IMAGES, split.num_examples)
        areas, labels, _ = next(iter(eval_batches(split.slice(0, count), area, count)))
        check_labels(split, labels.numpy())
    return int(np.median(areas))
