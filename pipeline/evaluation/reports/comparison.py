"""Transfer reports side by side, with confidence intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from groundwork.errors import UserError
from pipeline.evaluation.reports.score_table import HEADINGS, columns, markdown

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Report:
    """One report folder."""

    folder: str
    result: dict[str, Any]

    @property
    def test_examples(self) -> int:
        """Number of test images."""
        return self.result["data"]["splits"]["test"]["num_examples"]

    @property
    def test_fingerprint(self) -> str:
        """Tells test splits apart."""
        return self.result["data"]["splits"]["test"]["fingerprint"]

    def last_setting(self, protocol: str) -> str:
        """The setting, such as the number of shots, that the stored predictions are of."""
        return list(self.result[protocol]["model"])[-1]

    def predictions(self) -> dict[str, np.ndarray]:
        """Labels, and predictions of the model by protocol."""
        with np.load(Path(self.folder) / "predictions.npz", allow_pickle=False) as arrays:
            return dict(arrays)


def read_report(folder: str) -> Report:
    """Read a report folder.

    Raises:
        UserError: it holds no finished report.
    """
    path = Path(folder) / "result.json"
    try:
        return Report(folder, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is not a transfer report (result.json: {error}): write one with "
            "python -m pipeline.transfer"
        ) from error


def compare_reports(folders: Sequence[str]) -> str:
    """Tables, as Markdown, of the models' accuracies in several reports."""
    reports = [read_report(folder) for folder in folders]
    parts = []
    for protocol, title in HEADINGS.items():
        having = [report for report in reports if protocol in report.result]
        if having:
            parts.append(f"{title}, with 95 % intervals\n\n{markdown(_rows(having, protocol))}")
    differences = [_difference(reports[0], other) for other in reports[1:]]
    parts += [f"Differences from {reports[0].folder}\n"] if differences else []
    return "\n".join([*parts, *differences])


def interval(score: dict[str, Any], test_examples: int) -> tuple[float, float]:
    """95 % confidence interval of a score's mean accuracy.

    It covers both what the seeds draw (Student's t over the seeds) and which test images there
    happen to be (normal approximation of the binomial); the two widths add as squares.

    Args:
        score: as in result.json.
        test_examples: number of test images.
    """
    mean, runs = score["mean"], len(score["accuracies"])
    sampling = NORMAL_95 * math.sqrt(mean * (1 - mean) / test_examples)
    seeds = stats.t.ppf(0.975, runs - 1) * score["std"] / math.sqrt(runs) if runs > 1 else 0.0
    width = math.hypot(sampling, seeds)
    return max(0.0, mean - width), min(1.0, mean + width)


def paired_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[float, float]:
    """How much more often `second` is right than `first` on the same images.

    Returns:
        Difference of the accuracies, and half the width of its 95 % interval (normal approximation
        over the images, paired).
    """
    gains = (second == labels).astype(float) - (first == labels)
    return float(gains.mean()), NORMAL_95 * float(gains.std(ddof=1)) / math.sqrt(len(gains))


def _rows(reports: Sequence[Report], protocol: str) -> list[list[str]]:
    scores = [columns(report.result[protocol]["model"]) for report in reports]
    settings = list(dict.fromkeys(setting for by_setting in scores for setting in by_setting))
    rows = [["accuracy, %", *settings]]
    for report, by_setting in zip(reports, scores, strict=True):
        cells = [_cell(by_setting.get(setting), report.test_examples) for setting in settings]
        rows.append([report.folder, *cells])
    return rows


def _cell(score: dict[str, Any] | None, test_examples: int) -> str:
    if score is None:
        return "–"
    low, high = interval(score, score.get("num_examples", test_examples))
    return f"{100 * score['mean']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(first: Report, other: Report) -> str:
    if first.test_fingerprint != other.test_fingerprint:
        return f"- {other.folder}: other test images, no paired difference\n"
    ours, theirs = first.predictions(), other.predictions()
    lines = []
    for protocol in (name for name in HEADINGS if name in ours and name in theirs):
        setting = first.last_setting(protocol)
        if setting != other.last_setting(protocol):
            continue
        mean, half = paired_difference(ours["label"], ours[protocol], theirs[protocol])
        verdict = "" if abs(mean) > half else " (within chance)"
        lines.append(f"{protocol} ({setting}) {100 * mean:+.1f} ± {100 * half:.1f} points{verdict}")
    return f"- {other.folder}: {'; '.join(lines) or 'no setting in common'}\n"
