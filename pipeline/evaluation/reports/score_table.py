"""Scores as a table that reads well in a terminal and in Markdown."""

from __future__ import annotations

from typing import Any

NAMES = {
    "model": "model",
    "untrained": "untrained model",
    "raw_pixels": "raw pixels",
}
HEADINGS = {
    "few_shot": "Few-shot linear evaluation: accuracy by images per class",
    "linear_probe": "Linear probe on all training images",
    "fine_tune": "Fine-tuning of all weights",
    "knn": "Nearest neighbours: accuracy by k",
}


def columns(by_setting: dict[str, Any]) -> dict[str, Any]:
    """Scores of one learner (as in result.json) by heading: each setting on the test split, then
    each on each extra test."""
    extra: dict[str, dict[str, Any]] = {}
    for setting, score in by_setting.items():
        for test, extra_score in score.get("extra_tests", {}).items():
            extra.setdefault(test, {})[f"{setting} on {test}"] = extra_score
    headings = dict(by_setting)
    for of_test in extra.values():
        headings |= of_test
    return headings


def score_rows(scores: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Scores of one protocol (as in result.json) as rows of a table, the first its head."""
    rows = [["accuracy, %", *columns(next(iter(scores.values())))]]
    rows += [
        [NAMES.get(name, name), *map(percent, columns(by_setting).values())]
        for name, by_setting in scores.items()
    ]
    return rows


def percent(score: dict[str, Any]) -> str:
    """A score such as "92.3 ± 0.4"; without deviation where there was one run."""
    text = f"{100 * score['mean']:.1f}"
    return text + (f" ± {100 * score['std']:.1f}" if len(score["accuracies"]) > 1 else "")


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table whose first row is its head and whose columns are aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(_pad(cell, width, i) for i, (cell, width) in enumerate(cells)) + " |"
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    rule = "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]]) + "\n"


def _pad(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)
