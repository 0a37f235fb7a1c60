"""One transfer evaluation from its configuration: features, protocols, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import sklearn
import tensorflow as tf

from groundwork import storage
from pipeline.data.dataset.split import Split
from pipeline.devices.strategy import one_process_strategy
from pipeline.evaluation.features.feature_set import TaskFeatures
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.fine_tuning.fine_tune_protocol import run_fine_tuning
from pipeline.evaluation.fine_tuning.fine_tuned_export import FineTunedExport
from pipeline.evaluation.protocols.protocol import FrozenProtocol, Outcome
from pipeline.evaluation.protocols.scores import Score
from pipeline.evaluation.reports.report import Outcomes, write_report
from pipeline.evaluation.reports.score_table import shown_name
from pipeline.evaluation.reports.transfer_result import (
    ACCURACY,
    MEAN_AVERAGE_PRECISION,
    MODEL,
    DataFacts,
    ProtocolResult,
    SplitFacts,
    TransferResult,
)
from pipeline.evaluation.tasks.task import Task, open_dataset_task
from pipeline.evaluation.transfer.check_transfer_config import (
    check_multi_label,
    check_transfer_config,
)
from pipeline.evaluation.transfer.frozen_features import frozen_features
from pipeline.evaluation.transfer.remote_output import local_output
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.vtab_suite import SuiteResult, run_suite
from pipeline.named_models.evaluated_model import EvaluatedModel, open_evaluated_model
from pipeline.process.disk_full import explain_full_disk
from pipeline.process.failed_input import explain_failed_input
from pipeline.serving.loading import Export, open_export

EVALUATED = "evaluated_model"
"""In the output: the export of a model that came in another form."""
NO_MODEL = (
    "no pictures of attention: they need the fine-tuned model, which --fine_tune.export true keeps"
)


def run_transfer(config: TransferConfig) -> TransferResult | SuiteResult:
    """Evaluate, print the table, and write the report to `config.output`.

    Returns:
        What result.json holds; for VTAB, scores by task and group.

    Raises:
        UserError: a model, dataset, split or setting that cannot be.
        DiskFull: there is no space for the output.
    """
    check_transfer_config(config)
    evaluated = open_evaluated_model(config.model)
    if config.cache:
        storage.make_local_folder(config.cache, "--cache")
    strategy = None
    if "fine_tune" in config.protocols:
        strategy = one_process_strategy(config.fine_tune.strategy)
    with (
        explain_full_disk("the transfer evaluation", config.output),
        explain_failed_input(),
        local_output(config.output) as output,
    ):
        storage.make_local_folder(str(output), "--output")
        if evaluated.export is None and set(config.protocols) != {"fine_tune"}:
            # The frozen protocols read features from a SavedModel; what it was made of stays.
            evaluated = replace(evaluated, export=evaluated.as_export(str(output / EVALUATED)))
        evaluate = partial(evaluate_task, config, evaluated, strategy)
        if config.tasks:
            return run_suite(config, evaluate, output)
        task = open_dataset_task(config.data, config.extra_tests)
        if task.multi_label:
            check_multi_label(config)
        return evaluate(task, output)


def evaluate_task(
    config: TransferConfig,
    evaluated: EvaluatedModel,
    strategy: tf.distribute.Strategy | None,
    task: Task,
    output: Path,
) -> TransferResult:
    """Evaluate one task and write its report to `output`; see `run_transfer`.

    Args:
        config: of the evaluation.
        evaluated: the model.
        strategy: to fine-tune under; None: no protocol does.
        task: the downstream dataset.
        output: folder of the report.
    """
    started = time.monotonic()
    chosen = config.chosen_protocols()
    frozen = {n: one for n, one in chosen.items() if not isinstance(one, FineTuneConfig)}
    features = frozen_features(config, evaluated, task, output) if frozen else {}
    outcomes: Outcomes = {
        name: _evaluate_frozen(protocol, features) for name, protocol in frozen.items()
    }
    shown = evaluated.export
    notes = [f"extra test {name} is left out: {why}" for name, why in task.missing_tests.items()]
    if strategy is not None:
        outcomes["fine_tune"], shown = _fine_tune(config, evaluated, strategy, task, output)
        notes += [NO_MODEL] if shown is None and config.attention_images else []
    for name, by_learner in outcomes.items():
        for learner, outcome in by_learner.items():
            who = "" if learner == MODEL else f" of {shown_name(learner)}"
            notes += [f"{name}{who}: {note}" for note in outcome.notes]
    protocols = {
        name: ProtocolResult(
            chosen[name].HEADING,
            chosen[name].SETTING,
            _scores(by_learner),
            MEAN_AVERAGE_PRECISION if task.multi_label else ACCURACY,
        )
        for name, by_learner in outcomes.items()
    }
    result = TransferResult(
        protocols=protocols,
        model=evaluated.identity,
        data=_data_facts(task, features),
        config=asdict(config),
        versions={
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        notes=list(dict.fromkeys(notes)),
        seconds=0.0,
    )
    result = replace(result, seconds=round(time.monotonic() - started, 1))
    return write_report(output, config.attention_images, shown, task, result, outcomes)


def _evaluate_frozen(
    protocol: FrozenProtocol, features: Mapping[str, TaskFeatures]
) -> dict[str, Outcome]:
    return {learner: protocol.evaluate(of_task) for learner, of_task in features.items()}


def _scores(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, Score]]:
    """Scores by learner: the model, its variants that have a name, the baselines."""
    found = {MODEL: outcomes[MODEL].scores}
    found |= {f"{MODEL}_{name}": scores for name, scores in outcomes[MODEL].also.items()}
    return found | {name: outcome.scores for name, outcome in outcomes.items() if name != MODEL}


def _fine_tune(
    config: TransferConfig,
    evaluated: EvaluatedModel,
    strategy: tf.distribute.Strategy,
    task: Task,
    output: Path,
) -> tuple[dict[str, Outcome], Export | None]:
    """The outcome, and the fine-tuned model where it is kept."""
    keeper = FineTunedExport(output / "model", evaluated, task) if config.fine_tune.export else None
    folder = output / "fine_tune"
    outcome = run_fine_tuning(evaluated, task, config.fine_tune, strategy, folder, keeper)
    return {MODEL: outcome}, open_export(str(keeper.folder)) if keeper else None


def _data_facts(task: Task, features: Mapping[str, TaskFeatures]) -> DataFacts:
    def facts(splits: Mapping[str, Split]) -> dict[str, SplitFacts]:
        return {
            role: SplitFacts(split.name, split.num_examples, split.fingerprint)
            for role, split in splits.items()
        }

    counts = None
    if features:
        labels = features[MODEL].train.labels
        if labels.ndim == 1:
            labels = labels[:, None] == np.arange(len(task.class_names))
        counts = labels.sum(axis=0).tolist()
    return DataFacts(
        identity=task.identity,
        class_names=list(task.class_names),
        train_images_per_class=counts,
        splits=facts(task.splits()),
        extra_tests=facts(task.extra_tests),
    )
