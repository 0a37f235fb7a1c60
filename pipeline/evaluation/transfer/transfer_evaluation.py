"""One transfer evaluation from its configuration: features, protocols, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.data.dataset.split import Split
from pipeline.devices.strategy import one_process_strategy
from pipeline.evaluation.features.extractors import (
    Extractor,
    RawPixels,
    SavedModelFeatures,
    UntrainedFeatures,
)
from pipeline.evaluation.features.feature_cache import cached_features
from pipeline.evaluation.features.feature_set import TaskFeatures
from pipeline.evaluation.fine_tuning.fine_tune_protocol import FinalModel, run_fine_tuning
from pipeline.evaluation.protocols import frozen as protocols
from pipeline.evaluation.reports.report import write_report
from pipeline.evaluation.tasks.extra_tests import check_answers
from pipeline.evaluation.tasks.task import Task, open_dataset_task
from pipeline.evaluation.transfer.check_transfer_config import check_transfer_config
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.vtab_suite import run_suite
from pipeline.named_models.evaluated_model import Subject, open_subject
from pipeline.serving.export_folder import export_model
from pipeline.serving.loading import Export

Result = dict[str, Any]
Outcomes = dict[str, dict[str, protocols.Outcome]]
"""By protocol, then by what learnt: the model or a baseline."""


def run_transfer(config: TransferConfig) -> Result:
    """Evaluate, print the table, and write the report to `config.output`.

    Returns:
        What result.json holds: scores by protocol, learner and setting, and all that is needed to
        repeat them; for VTAB, scores by task and group.

    Raises:
        UserError: a model, dataset, split or setting that cannot be.
    """
    check_transfer_config(config)
    subject = open_subject(config.model)
    output = Path(config.output)
    strategy = None
    if "fine_tune" in config.protocols:
        strategy = one_process_strategy(config.fine_tune.strategy)
    evaluate = partial(evaluate_task, config, subject, strategy)
    if config.tasks:
        return run_suite(config, evaluate, output)
    return evaluate(open_dataset_task(config.data, config.extra_tests), output)


def evaluate_task(
    config: TransferConfig,
    subject: Subject,
    strategy: tf.distribute.Strategy | None,
    task: Task,
    output: Path,
) -> Result:
    """Evaluate one task and write its report to `output`; see `run_transfer`.

    Args:
        config: of the evaluation.
        subject: the model.
        strategy: to fine-tune under; None: no protocol does.
        task: the downstream dataset.
        output: folder of the report.
    """
    started = time.monotonic()
    outcomes: Outcomes = {}
    counts = None
    if frozen := [protocol for protocol in config.protocols if protocol != "fine_tune"]:
        features = _frozen_features(config, subject, task, output)
        counts = np.bincount(features["model"].train.labels, minlength=len(task.class_names))
        for protocol in frozen:
            outcomes[protocol] = {
                name: _evaluate_frozen(protocol, learner, config)
                for name, learner in features.items()
            }
    if strategy is not None:
        outcomes["fine_tune"] = {"model": _fine_tune(config, subject, strategy, task, output)}
    result: Result = {
        protocol: {name: _scores(outcome) for name, outcome in by_learner.items()}
        for protocol, by_learner in outcomes.items()
    }
    result |= _circumstances(config, subject, task, counts)
    result["notes"] += _unconverged(config, outcomes)
    result["seconds"] = round(time.monotonic() - started, 1)
    of_model = {protocol: by_learner["model"] for protocol, by_learner in outcomes.items()}
    write_report(output, config.attention_images, subject, task, result, of_model)
    return result


def _frozen_features(
    config: TransferConfig, subject: Subject, task: Task, output: Path
) -> dict[str, TaskFeatures]:
    if subject.export is None:
        raise UserError(
            f"the frozen protocols need an export folder, not {subject.name}: make one with "
            "python -m pipeline.export, or set protocols to [fine_tune]"
        )
    cache = Path(config.cache or output / "features")
    features = {}
    for name, extractor in _extractors(config, subject.export).items():
        compute = partial(cached_features, extractor, cache=cache, batch_size=config.batch_size)
        sets = {
            role: compute(split, label=f"features of {split.name}, {name}")
            for role, split in task.splits().items()
        }
        extra = {
            test: compute(split, label=f"features of {test}, {name}")
            for test, split in task.extra_tests.items()
        }
        for test, found in extra.items():
            check_answers(test, found.labels)
        features[name] = TaskFeatures(
            num_classes=len(task.class_names),
            train=sets["train"],
            test=sets["test"],
            validation=sets.get("validation"),
            seed=config.seed,
            extra_tests=extra,
        )
    return features


def _extractors(config: TransferConfig, export: Export) -> dict[str, Extractor]:
    baselines: dict[str, Extractor] = {
        "untrained": UntrainedFeatures(export, config.seed),
        "raw_pixels": RawPixels(export.description.image_size),
    }
    return {"model": SavedModelFeatures(export)} | {
        name: baselines[name] for name in config.baselines
    }


def _evaluate_frozen(
    protocol: str, task: TaskFeatures, config: TransferConfig
) -> protocols.Outcome:
    run: dict[str, Callable[[], protocols.Outcome]] = {
        "few_shot": lambda: protocols.few_shot(task, config.few_shot),
        "linear_probe": lambda: protocols.linear_probe(task, config.linear_probe),
        "knn": lambda: protocols.knn(task, config.knn),
    }
    return run[protocol]()


def _fine_tune(
    config: TransferConfig,
    subject: Subject,
    strategy: tf.distribute.Strategy,
    task: Task,
    output: Path,
) -> protocols.Outcome:
    def keep(final: FinalModel) -> None:
        export_model(
            final.model,
            final.preprocess,
            task.class_names,
            str(output / "model"),
            variant=str(subject.identity["variant"]),
            origin={"fine_tuned_from": subject.identity, "data": task.identity},
        )

    keep_model = keep if config.fine_tune.export else None
    folder = output / "fine_tune"
    return run_fine_tuning(subject, task, config.fine_tune, strategy, folder, keep_model)


def _scores(outcome: protocols.Outcome) -> dict[str, Any]:
    return {setting: score.as_json() for setting, score in outcome.scores.items()}


def _circumstances(
    config: TransferConfig, subject: Subject, task: Task, counts: np.ndarray | None
) -> Result:
    """Everything needed to repeat the evaluation, and what to know when reading it."""

    def described(splits: Mapping[str, Split]) -> Result:
        return {
            role: {
                "name": split.name,
                "num_examples": split.num_examples,
                "fingerprint": split.fingerprint,
            }
            for role, split in splits.items()
        }

    return {
        "notes": _notes(config, task, counts),
        "model": subject.identity,
        "data": task.identity
        | {
            "class_names": list(task.class_names),
            "train_images_per_class": None if counts is None else counts.tolist(),
            "splits": described(task.splits()),
            "extra_tests": described(task.extra_tests),
        },
        "config": asdict(config),
        "versions": {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }


def _notes(config: TransferConfig, task: Task, counts: np.ndarray | None) -> list[str]:
    notes = [f"extra test {name} is left out: {why}" for name, why in task.missing_tests.items()]
    if counts is None or "few_shot" not in config.protocols:
        return notes
    for shots in config.few_shot.shots:
        short = np.flatnonzero(counts < shots)
        if len(short):
            names = ", ".join(f"{task.class_names[i]} ({counts[i]})" for i in short[:5])
            more = f" and {len(short) - 5} more" if len(short) > 5 else ""
            notes.append(
                f"{shots} shots: all images were taken of the classes that have fewer: "
                f"{names}{more}"
            )
    return notes


def _unconverged(config: TransferConfig, outcomes: Outcomes) -> list[str]:
    limit = config.linear_probe.max_iterations
    return [
        f"linear probe of {name}: not converged after {limit:,} iterations, "
        "--linear_probe.max_iterations allows more"
        for name, outcome in outcomes.get("linear_probe", {}).items()
        for score in outcome.scores.values()
        if score.chosen["iterations"] >= limit
    ]
