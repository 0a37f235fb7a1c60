"""The report of a transfer evaluation: every file of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from groundwork import pages, storage
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.split import Split, read_records
from pipeline.evaluation.protocols.protocol import Outcome
from pipeline.evaluation.reports import analysis
from pipeline.evaluation.reports.mistakes import mistakes_gallery
from pipeline.evaluation.reports.score_table import chosen_rows, markdown, score_rows, shown_name
from pipeline.evaluation.reports.significance import paired_difference
from pipeline.evaluation.reports.tensorboard import write_events
from pipeline.evaluation.reports.transfer_page import CAPTIONS, transfer_page
from pipeline.evaluation.reports.transfer_result import (
    FILE_NAME,
    MODEL,
    Analysis,
    ClassResult,
    Contrast,
    TransferResult,
)
from pipeline.evaluation.reports.verdict import advice, verdict
from pipeline.evaluation.tasks.task import Task
from pipeline.figures import transfer_figures as figures
from pipeline.figures.attention_picture import draw_attention, has_attention
from pipeline.serving.loading import Export
from pipeline.training.objectives.class_scores import class_scores

Outcomes = dict[str, dict[str, Outcome]]
"""By protocol, then by what learned: the model or a baseline."""

KEYS_AT_ONCE = 1024


def write_report(
    output: Path,
    attention_images: int,
    shown: Export | None,
    task: Task,
    result: TransferResult,
    outcomes: Outcomes,
    more: Sequence[pages.Section] = (),
) -> TransferResult:
    """Print the tables and write the report.

    Args:
        output: folder of the report.
        attention_images: test images, and mistakes, to show with attention.
        shown: the model whose attention is drawn: the fine-tuned one where there is one.
        task: the downstream dataset.
        result: so far, without verdict and analysis.
        outcomes: those that `result` has the scores of.
        more: sections that the page has before its raw values.

    Returns:
        The result with verdict and analysis, as result.json holds it.
    """
    output.mkdir(parents=True, exist_ok=True)
    detailed = list(outcomes)[-1]  # of the most thorough protocol
    outcome = outcomes[detailed][MODEL]
    contrasts = _contrasts(outcomes)
    notes: list[str] = []
    gallery = None
    if task.multi_label:
        found, pictures = _analyze_labels(task, detailed, outcome), _plots(output, result)
    else:
        found, pictures = _analyze(output, task, result, detailed, outcome, contrasts)
        drawn, notes = _draw_samples(output, attention_images, shown, task, outcome)
        pictures |= drawn
    told = advice(contrasts, task.name)
    notes += [told] if told else []
    result = replace(
        result,
        notes=[*result.notes, *notes],
        verdict=verdict(result.protocols, contrasts, result.data.tested_on),
        analysis=found,
    )
    keys = keys_of(task.test)
    _write_predictions(output / "predictions.npz", keys, outcomes)
    text = _markdown(result)
    images = "".join(f"\n![{CAPTIONS[name]}]({path.name})\n" for name, path in pictures.items())
    title = f"# Transfer of {result.model['folder']} to {task.name}"
    storage.write_text(str(output / "report.md"), f"{title}\n\n{text}{images}")
    if not task.multi_label:
        gallery = mistakes_gallery(task.test, outcome, task.class_names, keys)
    page = transfer_page(task.name, result, pictures, gallery, more)
    pages.write(page, str(output / "report.html"))
    write_events(output / "tensorboard", result, text, pictures)
    # Last, and in one step: whoever finds result.json finds the rest.
    storage.write_text(str(output / FILE_NAME), result.to_json())
    print(f"\n{text}\nreport    {output}/report.html", flush=True)
    return result


def _markdown(result: TransferResult) -> str:
    """The verdict, the tables and the notes."""
    protocols = result.protocols.values()
    parts = [f"{result.verdict}\n"]
    parts += [f"{one.title}\n\n{markdown(score_rows(one))}" for one in protocols]
    chosen = chosen_rows(list(protocols))
    if len(chosen) > 1:
        parts.append(f"Chosen on validation images, or given\n\n{markdown(chosen)}")
    parts += [f"Note: {note}\n" for note in result.notes]
    return "\n".join(parts)


def _contrasts(outcomes: Outcomes) -> list[Contrast]:
    """The model against each baseline, by each protocol; none of any number of labels, where
    nothing counts what is right."""
    contrasts = []
    for protocol, by_learner in outcomes.items():
        ours = by_learner[MODEL]
        if ours.labels.ndim == 2:
            continue
        for learner, outcome in by_learner.items():
            if learner != MODEL:
                found = paired_difference(ours.labels, outcome.predictions, ours.predictions)
                contrasts.append(
                    Contrast(protocol, learner, found.mean, found.p_value, found.is_significant)
                )
    return contrasts


def _analyze(
    output: Path,
    task: Task,
    result: TransferResult,
    detailed: str,
    outcome: Outcome,
    contrasts: list[Contrast],
) -> tuple[Analysis, dict[str, Path]]:
    """What the predictions tell, and the plots of it by name."""
    pictures = _plots(output, result)
    names, predictions = list(task.class_names), outcome.predictions[0]
    confusion = analysis.confusion_matrix(outcome.labels, predictions, len(names))
    pictures["confusion"] = output / "confusion.png"
    figures.plot_confusion(confusion, names, pictures["confusion"])
    calibration_error = None
    if outcome.probabilities is not None:
        confidences = outcome.probabilities.max(axis=1).astype(np.float64)
        calibrated = analysis.calibration(confidences, predictions == outcome.labels)
        calibration_error = calibrated.expected_error
        pictures["calibration"] = output / "calibration.png"
        figures.plot_calibration(
            calibrated.confidence,
            calibrated.accuracy,
            calibrated.share,
            calibrated.expected_error,
            pictures["calibration"],
        )
    classes = analysis.class_results(confusion, names)
    present = [one for one in classes if one.examples]
    found = Analysis(
        protocol=detailed,
        setting=list(outcome.scores)[-1],
        macro_precision=analysis.macro_mean([one.precision for one in present]),
        macro_recall=analysis.macro_mean([one.recall for one in present]),
        macro_f1=analysis.macro_mean([one.f1 for one in present]),
        expected_calibration_error=calibration_error,
        classes=classes,
        contrasts=contrasts,
    )
    return found, pictures


def _plots(output: Path, result: TransferResult) -> dict[str, Path]:
    """The plot of scores by shots, where there are any."""
    if "few_shot" not in result.protocols:
        return {}
    few_shot = result.protocols["few_shot"]
    by_learner = {shown_name(learner): scores for learner, scores in few_shot.scores.items()}
    path = output / "accuracy_by_shots.png"
    figures.plot_few_shot(by_learner, path, few_shot.metric)
    return {"accuracy_by_shots": path}


def _analyze_labels(task: Task, detailed: str, outcome: Outcome) -> Analysis:
    """How each class is found where an image has any number of labels."""
    scores = class_scores(outcome.predictions[0], outcome.labels)
    rows = scores.rows(task.class_names)
    rows.sort(key=lambda row: np.inf if not row["images"] else row["average_precision"])
    classes = [
        ClassResult(
            name=row["name"],
            examples=row["images"],
            precision=None,
            recall=None,
            f1=row["f1"],
            taken_for=None,
            average_precision=row["average_precision"],
        )
        for row in rows
    ]
    return Analysis(
        protocol=detailed,
        setting=list(outcome.scores)[-1],
        macro_precision=None,
        macro_recall=None,
        macro_f1=scores.means()["best_f1"],
        expected_calibration_error=None,
        classes=classes,
        contrasts=[],
    )


def _draw_samples(
    output: Path, count: int, shown: Export | None, task: Task, outcome: Outcome
) -> tuple[dict[str, Path], list[str]]:
    """Draw evenly spaced test images, and mistakes, with attention; pictures by name, and notes."""
    labels, predictions = outcome.labels, outcome.predictions[0]
    count = min(count, len(labels))
    if not count or shown is None:
        return {}, []
    model = shown.keras_model()
    if not has_attention(model):
        return {}, ["no pictures of attention: the model is not a plain ViT"]
    confidences = None if outcome.probabilities is None else outcome.probabilities.max(axis=1)
    chosen: dict[str, list[int]] = {
        "attention": np.linspace(0, len(labels) - 1, count).round().astype(int).tolist(),
        "errors": analysis.most_instructive_errors(labels, predictions, confidences, count),
    }
    pictures, names = {}, task.class_names
    for name, indices in chosen.items():
        if indices:
            titles = [_title(names[labels[i]], names[predictions[i]]) for i in indices]
            pictures[name] = output / f"{name}.png"
            _draw(shown, model, task.test.select(indices), titles, pictures[name])
    return pictures, []


def _title(label: str, predicted: str) -> str:
    return label if label == predicted else f"{label}\n→ {predicted}"


def _draw(
    export: Export,
    model: keras.Model,
    chosen: Split,
    titles: Sequence[str],
    path: Path,
) -> None:
    images, _, _ = next(iter(eval_batches(chosen, export.preprocess, chosen.num_examples)))
    draw_attention(model, images.numpy(), titles, path)


def keys_of(split: Split) -> list[str]:
    """The key of each example; its number where the dataset has no keys."""
    if split.key_feature is None:
        return [str(number) for number in range(split.num_examples)]
    batches = read_records(split.files).map(split.parse_key).batch(KEYS_AT_ONCE)
    return [key.decode("utf-8", "replace") for batch in batches for key in batch.numpy()]


def _write_predictions(path: Path, keys: Sequence[str], outcomes: Outcomes) -> None:
    """`key`, `label`, and of each protocol the model's predictions, `[seeds, examples]`, and the
    first seed's probabilities, float16 `[examples, classes]`, as PROTOCOL_probabilities. Where an
    image has any number of labels, the predictions are scores, `[seeds, examples, classes]`."""
    arrays: dict[str, NDArray[Any]] = {"key": np.array(keys, dtype=np.str_)}
    of_model: Mapping[str, Outcome] = {name: one[MODEL] for name, one in outcomes.items()}
    for name, outcome in of_model.items():
        arrays["label"], arrays[name] = outcome.labels, outcome.predictions
        if outcome.probabilities is not None:
            arrays[f"{name}_probabilities"] = outcome.probabilities.astype(np.float16)
    with storage.create(str(path)) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
