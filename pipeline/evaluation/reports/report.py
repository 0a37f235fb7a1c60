"""The report of a transfer evaluation: every file of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from groundwork import storage
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.split import Split
from pipeline.evaluation.protocols.frozen import Outcome
from pipeline.evaluation.reports import analysis, html_page
from pipeline.evaluation.reports.score_table import HEADINGS, NAMES, markdown, score_rows
from pipeline.evaluation.reports.tensorboard import write_events
from pipeline.evaluation.tasks.task import Task
from pipeline.figures import transfer_figures as plots
from pipeline.figures.attention_picture import draw_attention, has_attention
from pipeline.named_models.evaluated_model import Subject
from pipeline.serving.loading import Export

DETAILED = ("fine_tune", "linear_probe", "few_shot", "knn")
"""Which protocol's predictions are looked into: the first one that was run."""
WORST_CLASSES = 10
CAPTIONS = {
    "accuracy_by_shots": "Few-shot accuracy; bars show the deviation over draws of the images",
    "confusion": "Confusion matrix",
    "calibration": "Calibration",
    "attention": "Test images with the model's attention rollout (titles tell mistakes)",
    "errors": "Mistakes with the model's attention rollout",
}


def write_report(
    output: Path,
    attention_images: int,
    subject: Subject,
    task: Task,
    result: dict[str, Any],
    outcomes: dict[str, Outcome],
) -> None:
    """Print the tables and write the report.

    Args:
        output: folder of the report.
        attention_images: test images, and mistakes, to show with attention.
        subject: the model.
        task: the downstream dataset.
        result: what result.json is to hold; gains `analysis`.
        outcomes: of the model, by protocol.
    """
    output.mkdir(parents=True, exist_ok=True)
    detailed = next(name for name in DETAILED if name in outcomes)
    title = f"Transfer of {subject.name} to {task.name}"
    pictures = _draw_plots(output, title, task, result, outcomes, detailed)
    pictures |= _draw_samples(output, attention_images, subject, task, outcomes[detailed], result)
    arrays: dict[str, Any] = {name: outcome.predictions for name, outcome in outcomes.items()}
    np.savez_compressed(output / "predictions.npz", label=outcomes[detailed].labels, **arrays)
    tables = {name: score_rows(result[name]) for name in HEADINGS if name in result}
    text = "\n".join(f"{HEADINGS[name]}\n\n{markdown(rows)}" for name, rows in tables.items())
    notes = "".join(f"\nNote: {note}\n" for note in result["notes"])
    images = "".join(f"\n![{CAPTIONS[name]}]({path.name})\n" for name, path in pictures.items())
    (output / "report.md").write_text(f"# {title}\n\n{text}{notes}{images}", encoding="utf-8")
    page = _html(title, tables, result, pictures)
    (output / "report.html").write_text(page, encoding="utf-8")
    write_events(output / "tensorboard", result, text, pictures)
    # Last, and in one step: whoever finds result.json finds the rest.
    text_of_result = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    storage.write_text(str(output / "result.json"), text_of_result)
    print(f"\n{text}{notes}\nreport    {output}/report.html", flush=True)


def _draw_plots(
    output: Path,
    title: str,
    task: Task,
    result: dict[str, Any],
    outcomes: dict[str, Outcome],
    detailed: str,
) -> dict[str, Path]:
    """Draw what is plotted, add `analysis` to `result`; pictures by name."""
    pictures = {}
    if "few_shot" in result:
        pictures["accuracy_by_shots"] = output / "accuracy_by_shots.png"
        by_learner = {NAMES.get(name, name): found for name, found in result["few_shot"].items()}
        plots.plot_few_shot(by_learner, pictures["accuracy_by_shots"], title)
    outcome, names = outcomes[detailed], list(task.class_names)
    confusion = analysis.confusion_matrix(outcome.labels, outcome.predictions, len(names))
    pictures["confusion"] = output / "confusion.png"
    plots.plot_confusion(confusion, names, pictures["confusion"])
    worst = analysis.worst_classes(confusion, names, WORST_CLASSES)
    result["analysis"] = {
        "protocol": detailed,
        "setting": list(outcome.scores)[-1],
        "worst_classes": [asdict(one) for one in worst],
    }
    if outcome.confidences is not None:
        hits = outcome.predictions == outcome.labels
        calibrated = analysis.calibration(outcome.confidences, hits)
        result["analysis"]["expected_calibration_error"] = calibrated.expected_error
        pictures["calibration"] = output / "calibration.png"
        plots.plot_calibration(
            calibrated.confidence,
            calibrated.accuracy,
            calibrated.share,
            calibrated.expected_error,
            pictures["calibration"],
        )
    return pictures


def _draw_samples(
    output: Path,
    count: int,
    subject: Subject,
    task: Task,
    outcome: Outcome,
    result: dict[str, Any],
) -> dict[str, Path]:
    """Draw evenly spaced test images, and mistakes, with attention; pictures by name."""
    labels = outcome.labels
    count = min(count, len(labels))
    if not count or subject.export is None:
        return {}
    model = subject.export.keras_model()
    if not has_attention(model):
        result["notes"].append("no attention picture: the model is not a plain ViT")
        return {}
    chosen = {
        "attention": np.linspace(0, len(labels) - 1, count).round().astype(int).tolist(),
        "errors": analysis.most_instructive_errors(
            labels, outcome.predictions, outcome.confidences, count
        ),
    }
    pictures, names = {}, task.class_names
    for name, indices in chosen.items():
        if indices:
            pairs = zip(labels[indices], outcome.predictions[indices], strict=True)
            titles = [_title(names[label], names[predicted]) for label, predicted in pairs]
            pictures[name] = output / f"{name}.png"
            _draw(subject.export, model, task.test.select(indices), titles, pictures[name])
    return pictures


def _title(label: str, predicted: str) -> str:
    return label if label == predicted else f"{label}\ntaken for {predicted}"


def _draw(
    export: Export, model: keras.Model, chosen: Split, titles: Sequence[str], path: Path
) -> None:
    images, _, _ = next(iter(eval_batches(chosen, export.preprocess, chosen.num_examples)))
    draw_attention(model, images.numpy(), titles, path)


def _html(
    title: str,
    tables: dict[str, list[list[str]]],
    result: dict[str, Any],
    pictures: dict[str, Path],
) -> str:
    body = []
    for name, rows in tables.items():
        body += [html_page.heading(HEADINGS[name]), html_page.table(rows)]
    body += [html_page.paragraph(f"Note: {note}") for note in result["notes"]]
    for name, path in pictures.items():
        body += [html_page.heading(CAPTIONS[name]), html_page.picture(path, CAPTIONS[name])]
    found = result["analysis"]
    rows = [["class", "images", "accuracy, %", "most often taken for"]]
    rows += [
        [one["name"], str(one["examples"]), f"{100 * one['accuracy']:.1f}", one["taken_for"] or ""]
        for one in found["worst_classes"]
    ]
    body += [
        html_page.heading("Worst classes"),
        html_page.table(rows),
        html_page.paragraph(
            f"Confusion, calibration, classes and mistakes are of {found['protocol']}, setting "
            f"{found['setting']}, first seed."
        ),
        html_page.heading("Circumstances"),
    ]
    facts = {name: result[name] for name in ("model", "data", "config", "versions", "seconds")}
    body.append(html_page.preformatted(json.dumps(facts, indent=2, ensure_ascii=False)))
    return html_page.page(title, body)
