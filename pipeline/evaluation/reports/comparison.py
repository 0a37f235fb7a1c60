"""Transfer reports side by side, with confidence intervals and paired tests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundwork import storage
from groundwork.errors import UserError, one_line
from pipeline.evaluation.protocols.scores import ExtraScore, Score
from pipeline.evaluation.reports.score_table import markdown
from pipeline.evaluation.reports.significance import (
    Difference,
    interval,
    paired_difference,
    shown_p,
)
from pipeline.evaluation.reports.transfer_result import ACCURACY, MODEL, TransferResult, read_result


@dataclass(frozen=True)
class Report:
    """One report folder."""

    folder: str
    result: TransferResult

    def predictions(self, protocol: str) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Labels, int `[examples]`, and the model's predictions, int `[seeds, examples]`.

        Raises:
            UserError: predictions.npz is missing, or does not hold them.
        """
        path = storage.join(self.folder, "predictions.npz")
        try:
            with np.load(io.BytesIO(storage.read(path)), allow_pickle=False) as arrays:
                return arrays["label"], arrays[protocol]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} has no predictions of {protocol} ({one_line(error)}): write the report "
                "again with python -m pipeline.transfer"
            ) from error


@dataclass(frozen=True)
class PairedDifference:
    """A report's model against that of the first report, by one protocol."""

    protocol: str
    setting: str
    difference: Difference
    all_seeds: bool
    """Whether every seed of both reports was taken."""

    def words(self) -> str:
        """Such as "few_shot (25) +13.4 ± 2.9 points, p = 0.0012"."""
        found = self.difference
        of = "" if self.all_seeds else f", first {_seeds(found.seeds)} of each"
        verdict = "" if found.is_significant else " (within chance)"
        return (
            f"{self.protocol} ({self.setting}) {100 * found.mean:+.1f} ± "
            f"{100 * found.half_width:.1f} points, {shown_p(found.p_value)}{of}{verdict}"
        )


@dataclass(frozen=True)
class Comparison:
    """Several reports, the first of which the others are compared with."""

    reports: Sequence[Report]
    differences: Sequence[Sequence[PairedDifference] | None]
    """Of each report but the first; None: it has other test images."""

    @property
    def protocols(self) -> dict[str, str]:
        """The title of each protocol that a report has, by name."""
        return {
            name: protocol.title
            for report in self.reports
            for name, protocol in report.result.protocols.items()
        }

    def having(self, protocol: str) -> list[Report]:
        """The reports that have a protocol."""
        return [report for report in self.reports if protocol in report.result.protocols]


def compare(folders: Sequence[str]) -> Comparison:
    """Read report folders and test the models' differences.

    Raises:
        UserError: one holds no finished report.
    """
    reports = [Report(folder, read_result(folder)) for folder in folders]
    for report in reports:
        if any(one.metric != ACCURACY for one in report.result.protocols.values()):
            raise UserError(
                f"{report.folder} is of images with any number of labels, whose models are not "
                "compared here: see the mean average precisions in each report.html"
            )
    return Comparison(reports, [_differences(reports[0], other) for other in reports[1:]])


def comparison_text(comparison: Comparison) -> str:
    """The tables and the differences, as Markdown."""
    parts = [
        f"{title}, with 95 % intervals\n\n{markdown(_rows(comparison.having(name), name))}"
        for name, title in comparison.protocols.items()
    ]
    first, *others = comparison.reports
    if others:
        parts.append(f"Differences from {first.folder}, over all seeds unless said otherwise\n")
    for other, differences in zip(others, comparison.differences, strict=True):
        parts.append(f"- {other.folder}: {difference_words(differences)}\n")
    return "\n".join(parts)


def difference_words(differences: Sequence[PairedDifference] | None) -> str:
    """The differences of one report from the first."""
    if differences is None:
        return "other test images, no paired difference"
    return "; ".join(one.words() for one in differences) or "no setting in common"


def score_interval(report: Report, score: Score | ExtraScore) -> tuple[float, float]:
    """95 % interval of a score of a report."""
    examples = report.result.data.test.num_examples
    return interval(score, score.num_examples if isinstance(score, ExtraScore) else examples)


def _differences(first: Report, other: Report) -> list[PairedDifference] | None:
    if first.result.data.test.fingerprint != other.result.data.test.fingerprint:
        return None
    found = []
    for name, ours in first.result.protocols.items():
        theirs = other.result.protocols.get(name)
        if theirs is None or theirs.last_setting != ours.last_setting:
            continue
        labels, our_predictions = first.predictions(name)
        _, their_predictions = other.predictions(name)
        difference = paired_difference(labels, our_predictions, their_predictions)
        seeds = {len(our_predictions), len(their_predictions)}
        found.append(PairedDifference(name, ours.last_setting, difference, len(seeds) == 1))
    return found


def _rows(reports: Sequence[Report], protocol: str) -> list[list[str]]:
    columns = [report.result.protocols[protocol].columns(MODEL) for report in reports]
    settings = list(dict.fromkeys(setting for one in columns for setting in one))
    rows = [["accuracy, %", *settings]]
    for report, scores in zip(reports, columns, strict=True):
        rows.append([report.folder, *(_cell(report, scores.get(name)) for name in settings)])
    return rows


def _cell(report: Report, score: Score | ExtraScore | None) -> str:
    if score is None:
        return "–"
    low, high = score_interval(report, score)
    return f"{100 * score.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _seeds(number: int) -> str:
    return "seed" if number == 1 else f"{number} seeds"
