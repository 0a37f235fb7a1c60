"""The fine-tuning protocol: sweep of learning rates on the dev split, then the final runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import vit_keras
from groundwork import storage
from groundwork.errors import TrainingDiverged
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.split import Split
from pipeline.data.images.image_decoding import decode_rgb
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.fine_tuning.fine_tune_recipe import Recipe, make_recipe
from pipeline.evaluation.fine_tuning.fine_tuner import FineTuner
from pipeline.evaluation.protocols.protocol import Outcome
from pipeline.evaluation.protocols.scores import Hits, accuracy, count_hits, score
from pipeline.evaluation.tasks.extra_tests import check_answers
from pipeline.evaluation.tasks.task import Task, check_labels
from pipeline.named_models.evaluated_model import EvaluatedModel

FIRST_IMAGES = 16
FORMAT = 3
"""Changes when the meaning of a stored run does."""


@dataclass(frozen=True)
class FinalModel:
    """The fine-tuned model of the first seed, and how it came about."""

    run: str
    """Tells runs apart that give other weights."""
    model: keras.Model
    preprocess: EvalPreprocess
    recipe: Recipe
    rate: float
    """Peak learning rate."""
    dev_accuracies: Mapping[float, float]
    """By rate that was tried; empty: there was nothing to choose."""
    accuracy: float
    """On the test split."""


class Keeper(Protocol):
    """Keeps the final model."""

    def holds(self, run: str) -> bool:
        """Whether what is kept now is the model of this run."""

    def keep(self, final: FinalModel) -> None:
        """Keep a model in place of what is kept now."""


def run_fine_tuning(
    evaluated: EvaluatedModel,
    task: Task,
    config: FineTuneConfig,
    strategy: tf.distribute.Strategy,
    folder: Path,
    keeper: Keeper | None = None,
) -> Outcome:
    """Fine-tune and measure; runs that an earlier call finished are not repeated.

    Args:
        evaluated: the pre-trained model.
        task: the downstream dataset.
        config: settings.
        strategy: to train and predict under.
        folder: keeps the predictions of each finished run.
        keeper: of the final model of the first seed; where it lost that, the run is repeated.

    Returns:
        The score, and the test predictions of each seed.

    Raises:
        UserError: settings that do not fit the dataset or the model.
        TrainingDiverged: a final run's loss is not finite.
    """
    final_split = task.final_split()
    rates = config.rates()
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
    runs = _Runs(evaluated, recipe, len(task.class_names), config, strategy, folder)
    rate, dev_accuracies = _choose_rate(runs, task, rates)
    results = []
    for seed in config.seeds:
        kept = _Kept(keeper, dev_accuracies) if keeper and seed == config.seeds[0] else None
        results.append(
            runs.run(final_split, task.test, rate, seed, "final", task.extra_tests, kept)
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
        np.stack([result["predictions"] for result in results]),
        labels,
        results[0]["probabilities"],
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
class _Kept:
    """What keeps the model of a run, and what is to be told of its rate."""

    keeper: Keeper
    dev_accuracies: Mapping[float, float]


@dataclass(frozen=True)
class _Runs:
    """Runs of one recipe on one model, each stored when finished."""

    evaluated: EvaluatedModel
    recipe: Recipe
    num_classes: int
    config: FineTuneConfig
    strategy: tf.distribute.Strategy
    folder: Path

    @cached_property
    def tuner(self) -> FineTuner:
        """Made when the first run is not stored yet."""
        return FineTuner(
            partial(self.evaluated.load, self.recipe.crop_size, self.num_classes),
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
        kept: _Kept | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Fine-tune on `train`; predictions, probabilities and labels on `test`, and `extra_hits`,
        int `[extra tests, 2]`, as `Hits`."""
        extra_tests = extra_tests or {}
        key = self._key(train, (test, *extra_tests.values()), rate, seed)
        path = self.folder / f"{key}.npz"
        if path.exists() and (kept is None or kept.keeper.holds(key)):
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        self.tuner.run(train, rate, seed, f"fine-tuning, {label}")
        result = self.tuner.predict(test)
        hits = [self._hits(name, split) for name, split in extra_tests.items()]
        result["extra_hits"] = np.array(hits, np.int64).reshape(-1, 2)
        if kept is not None:
            final = FinalModel(
                run=key,
                # A copy, in plain variables and in float32.
                model=vit_keras.adapt_model(self.tuner.model, dtype="float32"),
                preprocess=EvalPreprocess(self.recipe.crop_size),
                recipe=self.recipe,
                rate=rate,
                dev_accuracies=kept.dev_accuracies,
                accuracy=accuracy(result["predictions"], result["labels"]),
            )
            kept.keeper.keep(final)
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
            FORMAT,
            self.evaluated.fingerprint,
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
