"""The fine-tuning protocol: sweep of learning rates on the dev split, then the final runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import vit_keras
from groundwork import storage
from groundwork.errors import TrainingDiverged
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.split import Split
from pipeline.data.images.preprocess import EvalPreprocess, decode_rgb
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.fine_tuning.fine_tune_recipe import Recipe, learning_rates, make_recipe
from pipeline.evaluation.fine_tuning.fine_tuner import FineTuner
from pipeline.evaluation.protocols.frozen import Outcome
from pipeline.evaluation.protocols.scores import Hits, accuracy, count_hits, score
from pipeline.evaluation.tasks.extra_tests import check_answers
from pipeline.evaluation.tasks.task import Task, check_labels
from pipeline.named_models.evaluated_model import Subject

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
    strategy: tf.distribute.Strategy,
    folder: Path,
    keep_model: Callable[[FinalModel], None] | None = None,
) -> Outcome:
    """Fine-tune and measure; runs that an earlier call finished are not repeated.

    Args:
        subject: the pre-trained model.
        task: the downstream dataset.
        config: settings.
        strategy: to train and predict under.
        folder: keeps the predictions of each finished run.
        keep_model: is given the final model of the first seed, unless that run is not repeated.

    Returns:
        The score, and the test predictions and confidences of the first seed.

    Raises:
        UserError: settings that do not fit the dataset or the model.
        TrainingDiverged: a final run's loss is not finite.
    """
    final_split = task.final_split()
    rates = learning_rates(config)
    smallest = min(
        [final_split, *(task.tuning_splits()[:1] if len(rates) > 1 else ())],
        key=lambda split: split.num_examples,
    )
    recipe = make_recipe(
        config,
        final_split.num_examples,
        _inspect(task, final_split),
        smallest_split=smallest.num_examples,
        replicas=strategy.num_replicas_in_sync,
    )
    runs = _Runs(subject, recipe, len(task.class_names), config, strategy, folder)
    rate, dev_accuracies = _choose_rate(runs, task, rates)
    results = []
    for seed in config.seeds:
        keep = keep_model if seed == config.seeds[0] else None
        results.append(
            runs.run(final_split, task.test, rate, seed, "final", task.extra_tests, keep)
        )
    labels = results[0]["labels"]
    accuracies = [accuracy(result["predictions"], labels) for result in results]
    chosen = {"learning_rate": rate, "steps": float(recipe.steps)} | {
        f"dev accuracy at {tried:g}": value for tried, value in dev_accuracies.items()
    }
    hits = {
        name: [Hits(*result["extra_hits"][index].tolist()) for result in results]
        for index, name in enumerate(task.extra_tests)
    }
    return Outcome(
        {config.recipe: score(accuracies, chosen, hits)},
        results[0]["predictions"],
        labels,
        results[0]["confidences"],
    )


def _choose_rate(
    runs: _Runs, task: Task, rates: Sequence[float]
) -> tuple[float, dict[float, float]]:
    """The best peak rate on the dev split, and the accuracy there of each that was tried."""
    if len(rates) == 1:
        return rates[0], {}
    fit, dev = task.tuning_splits()
    accuracies: dict[float, float] = {}
    diverged = None
    for rate in rates:
        try:
            result = runs.run(fit, dev, rate, runs.config.seeds[0], f"sweep, rate {rate:g}")
        except TrainingDiverged as error:  # too high a rate is what a sweep is there to find
            diverged = error
            print(f"{error}: not taken", flush=True)
            continue
        accuracies[rate] = accuracy(result["predictions"], result["labels"])
    if diverged and not accuracies:
        raise diverged
    return max(accuracies, key=lambda rate: (accuracies[rate], -rate)), accuracies


@dataclass(frozen=True)
class _Runs:
    """Runs of one recipe on one model, each stored when finished."""

    subject: Subject
    recipe: Recipe
    num_classes: int
    config: FineTuneConfig
    strategy: tf.distribute.Strategy
    folder: Path

    @cached_property
    def tuner(self) -> FineTuner:
        """Made when the first run is not stored yet."""
        return FineTuner(
            partial(self.subject.load, self.recipe.crop_size, self.num_classes),
            self.recipe,
            self.config,
            self.strategy,
        )

    def run(
        self,
        train: Split,
        test: Split,
        rate: float,
        seed: int,
        label: str,
        extra_tests: Mapping[str, Split] | None = None,
        keep_model: Callable[[FinalModel], None] | None = None,
    ) -> dict[str, np.ndarray]:
        """Fine-tune on `train`; predictions, confidences and labels on `test`, and `extra_hits`,
        int `[extra tests, 2]`, as `Hits`."""
        extra_tests = extra_tests or {}
        path = self.folder / f"{self._key(train, (test, *extra_tests.values()), rate, seed)}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        self.tuner.run(train, rate, seed, f"fine-tuning, {label}")
        result = self.tuner.predict(test)
        hits = [self._hits(name, split) for name, split in extra_tests.items()]
        result["extra_hits"] = np.array(hits, np.int64).reshape(-1, 2)
        if keep_model is not None:
            # A copy, in plain variables and in float32.
            model = vit_keras.adapt_model(self.tuner.model, dtype="float32")
            keep_model(FinalModel(model, EvalPreprocess(self.recipe.crop_size)))
        with storage.create(str(path)) as file:
            np.savez_compressed(file, **result)  # type: ignore[arg-type]
        return result

    def _hits(self, name: str, split: Split) -> Hits:
        found = self.tuner.predict(split)
        check_answers(name, found["labels"])
        return count_hits(found["predictions"], found["labels"])

    def _key(self, train: Split, tests: Sequence[Split], rate: float, seed: int) -> str:
        config = self.config
        facts = [
            self.subject.fingerprint,
            train.fingerprint,
            [test.fingerprint for test in tests],
            asdict(self.recipe),
            [self.num_classes, rate, seed],
            [config.flip, config.accumulate, config.polyak_decay, config.precision],
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
