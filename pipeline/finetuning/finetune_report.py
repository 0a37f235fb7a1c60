"""The report of a fine-tuning: that of a transfer evaluation, with curves and label errors."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import sklearn
import tensorflow as tf

from groundwork import pages, storage
from groundwork.progress import Progress
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.source import Source
from pipeline.data.dataset.split import Split
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.evaluation.features.extractors import ModelFeatures
from pipeline.evaluation.features.feature_cache import cached_features
from pipeline.evaluation.features.feature_set import FeatureSet
from pipeline.evaluation.protocols.label_errors import (
    LabelError,
    held_out_probabilities,
    likely_label_errors,
)
from pipeline.evaluation.protocols.protocol import Outcome
from pipeline.evaluation.protocols.scores import accuracy, score
from pipeline.evaluation.reports.mistakes import thumbnails
from pipeline.evaluation.reports.report import keys_of, write_report
from pipeline.evaluation.reports.transfer_result import (
    MODEL,
    DataFacts,
    ProtocolResult,
    SplitFacts,
    TransferResult,
)
from pipeline.evaluation.tasks.task import Task
from pipeline.figures.transfer_figures import plot_curves
from pipeline.finetuning.finetune_config import FinetuneConfig
from pipeline.finetuning.finetune_plan import Plan
from pipeline.named_models.evaluated_model import EvaluatedModel
from pipeline.recipe.run_config import PretrainConfig
from pipeline.serving.loading import Export, open_export
from pipeline.workdir.workdir import Workdir

BATCH = 64
SHOWN = 60
"""Likely label errors that the page shows; label_errors.csv has all."""


def write_finetune_report(
    config: FinetuneConfig,
    run: PretrainConfig,
    plan: Plan,
    source: Source,
    evaluated: EvaluatedModel,
    export: str,
    scores: Mapping[str, float],
) -> TransferResult:
    """Measure the export, look for label errors, and write it all to OUTPUT/report.

    Args:
        config: the options.
        run: the best one.
        plan: of all runs.
        source: the dataset.
        evaluated: the model that was fine-tuned.
        export: folder of what came out.
        scores: what the checkpoint was chosen by, on the held-out images, by workdir.
    """
    started = time.monotonic()
    output = Path(config.output) / "report"
    test, notes = plan.eval, list(plan.notes)
    if "test" in source.split_names:
        test = source.split("test")
    else:
        notes.append(
            "the checkpoint was chosen on the images that the accuracy is of, so on other images "
            "it will be somewhat lower; a split named test would be measured on instead"
        )
    model = open_export(export)
    outcome = _outcome(model, test, {"learning_rate": run.optim.peak_lr, **_dev(run, scores)})
    identity = {
        "source": source.origin,
        "version": source.builder.info.full_name,
        "fingerprint": source.fingerprint,
    }
    task = Task(source.origin, identity, source.class_names, plan.train, plan.eval, test)
    output.mkdir(parents=True, exist_ok=True)
    errors = _label_errors(output, run, plan, source, evaluated)
    plot_curves(Workdir(run.workdir).load_metrics(), output / "curves.png")
    curves = pages.Figure((output / "curves.png").read_bytes(), "Loss and accuracy by step")
    result = TransferResult(
        protocols={"fine_tune": ProtocolResult("Fine-tuning", "", {MODEL: outcome.scores})},
        model=evaluated.identity,
        data=DataFacts(
            identity=identity,
            class_names=list(source.class_names),
            train_images_per_class=None,
            splits={
                role: SplitFacts(split.name, split.num_examples, split.fingerprint)
                for role, split in task.splits().items()
            },
            extra_tests={},
        ),
        config=asdict(config),
        versions={
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        notes=notes,
        seconds=round(time.monotonic() - started, 1),
    )
    sections = [pages.Section("Curves", [curves]), errors]
    outcomes = {"fine_tune": {MODEL: outcome}}
    return write_report(output, config.attention_images, model, task, result, outcomes, sections)


def _dev(run: PretrainConfig, scores: Mapping[str, float]) -> dict[str, float]:
    metric = str(run.checkpoint.keep_best).removeprefix("eval/")
    return {f"held-out {metric}, {Path(name).name}": value for name, value in scores.items()}


def _outcome(export: Export, test: Split, chosen: Mapping[str, float]) -> Outcome:
    """What the export answers, each image once."""
    progress = Progress(f"answers for {test.name}", test.num_examples)
    parts, labels = [], []
    for image_bytes, of_batch, mask in eval_batches(test, lambda image: image, BATCH):
        real = int(np.sum(mask))
        parts.append(export.probabilities(image_bytes[:real])[0])
        labels.append(of_batch.numpy()[:real])
        progress.update(sum(map(len, labels)))
    progress.close()
    probabilities, known = np.concatenate(parts), np.concatenate(labels)
    predictions = probabilities.argmax(axis=1)
    scores = {"fine_tune": score([accuracy(predictions, known)], chosen)}
    return Outcome(scores, predictions[None], known, probabilities)


def _label_errors(
    output: Path, run: PretrainConfig, plan: Plan, source: Source, evaluated: EvaluatedModel
) -> pages.Section:
    """By features of the model as it was before: the fine-tuned one knows the wrong labels."""
    data = run.data
    features = ModelFeatures(
        evaluated.load(data.height_width, "keep", None),
        EvalPreprocess(data.height_width, data.eval_resize),
        f"{evaluated.fingerprint} {data.height_width} {data.eval_resize}",
    )
    splits = [plan.train, plan.eval]
    sets = [
        cached_features(
            features, split, output / "features", batch_size=BATCH, label=f"features, {split.name}"
        )
        for split in splits
    ]
    examples = FeatureSet(
        *(np.concatenate(parts) for parts in zip(*map(_parts, sets), strict=True))
    )
    probabilities = held_out_probabilities(examples, source.num_classes)
    found = likely_label_errors(examples.labels, probabilities)
    together = plan.train.joined(plan.eval)
    _write_errors(output / "label_errors.csv", found, keys_of(together), source.class_names)
    share = accuracy(probabilities.argmax(axis=1), examples.labels)
    lead = (
        f"Each image judged by a linear classifier on the features of {evaluated.name}, fitted to "
        f"the other four fifths ({share:.1%} of the labels agree). Look at the first ones: a wrong "
        "label costs twice, in training and in evaluation."
    )
    if not found:
        return pages.Section("Likely label errors", [pages.Text("None found.")], lead=lead)
    shown = found[:SHOWN]
    names = source.class_names
    images = thumbnails(together.select([error.index for error in shown]))
    keys = keys_of(together.select([error.index for error in shown]))
    tiles = [
        pages.Tile(
            [pages.Picture(image, f"labeled {names[error.label]}")],
            caption=f"{names[error.label]} → {names[error.other]}?",
            note=key,
            facets={"Label": [names[error.label]], "Rather": [names[error.other]]},
            answers=[
                pages.Score(names[error.other], error.probability),
                pages.Score(names[error.label], error.of_label, right=True),
            ],
        )
        for error, image, key in zip(shown, images, keys, strict=True)
    ]
    caption = f"{len(shown)} of {len(found):,}, the clearest first; label_errors.csv has all."
    return pages.Section("Likely label errors", [pages.Gallery(tiles, caption)], lead=lead)


def _parts(one: FeatureSet) -> tuple[np.ndarray, np.ndarray]:
    return one.features, one.labels


def _write_errors(
    path: Path, errors: list[LabelError], keys: list[str], names: tuple[str, ...]
) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["key", "label", "rather", "probability", "probability_of_label"])
    for one in errors:
        shares = (f"{one.probability:.4f}", f"{one.of_label:.4f}")
        table.writerow([keys[one.index], names[one.label], names[one.other], *shares])
    storage.write_text(str(path), text.getvalue())
