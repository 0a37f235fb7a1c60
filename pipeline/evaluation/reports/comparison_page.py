"""The page of `python -m pipeline.compare`."""

from __future__ import annotations

from collections.abc import Sequence

from groundwork.pages import Bar, Bars, Number, Page, Part, Section, Table
from groundwork.pages.page import Tone
from pipeline.evaluation.protocols.scores import ExtraScore, Score
from pipeline.evaluation.reports.comparison import (
    Comparison,
    PairedDifference,
    Report,
    score_interval,
)
from pipeline.evaluation.reports.score_table import percent
from pipeline.evaluation.reports.significance import shown_p
from pipeline.evaluation.reports.transfer_result import MODEL


def comparison_page(comparison: Comparison) -> Page:
    """The page: who is best, by how much, and what that rests on."""
    sections = [
        Section(title, _protocol(comparison.having(name), name))
        for name, title in comparison.protocols.items()
    ]
    if len(comparison.reports) > 1:
        first = comparison.reports[0].folder
        lead = (
            f"Accuracy less that of {first}, on the same test images: 95 % interval over images "
            "and seeds, and exact test of whether either is right on more of them."
        )
        sections.insert(0, Section("Differences", [_differences(comparison)], lead=lead))
    return Page(
        kind="Comparison",
        subject=f"{len(comparison.reports)} transfer reports",
        headline=_headline(comparison),
        lead="Lines are 95 % intervals over test images and seeds.",
        sections=sections,
    )


def _headline(comparison: Comparison) -> str:
    """The best report by the last protocol that all have in common."""
    shared = [
        name
        for name in comparison.protocols
        if len(comparison.having(name)) == len(comparison.reports)
    ]
    if not shared:
        return "No protocol is common to all reports"
    protocol = shared[-1]
    best = max(comparison.reports, key=lambda report: report.result.protocols[protocol].last.mean)
    result = best.result.protocols[protocol]
    text = f"{best.folder} is best: {percent(result.last)} % by {result.named_setting()}"
    position = list(comparison.reports).index(best)
    first = comparison.reports[0].folder
    if position == 0:
        return text
    for one in comparison.differences[position - 1] or ():
        if one.protocol == protocol:
            p = shown_p(one.difference.p_value)
            points = f"{100 * one.difference.mean:+.1f} points from {first}"
            chance = "" if one.difference.is_significant else ", within chance"
            return f"{text}, {points} ({p}{chance})"
    return text


def _differences(comparison: Comparison) -> Table:
    rows: list[Sequence[str | Number | None]] = []
    for report, found in zip(comparison.reports[1:], comparison.differences, strict=True):
        if not found:
            why = "other test images" if found is None else "no setting in common"
            rows.append([report.folder, why, None, None, None])
        rows += [_difference(report, one) for one in found or ()]
    return Table(["report", "protocol", "points", "p", "seeds"], rows)


def _difference(report: Report, one: PairedDifference) -> list[str | Number | None]:
    found = one.difference
    tone: Tone = "neutral" if not found.is_significant else "good" if found.mean > 0 else "bad"
    text = f"{100 * found.mean:+.1f} ± {100 * found.half_width:.1f}"
    return [
        report.folder,
        f"{one.protocol} ({one.setting})",
        Number(found.mean, text, tone),
        Number(found.p_value, shown_p(found.p_value)),
        Number(found.seeds, str(found.seeds) if one.all_seeds else f"first {found.seeds}"),
    ]


def _protocol(reports: Sequence[Report], name: str) -> list[Part]:
    bars = []
    for report in reports:
        score = report.result.protocols[name].last
        limits = score_interval(report, score)
        bars.append(Bar(report.folder, [score.mean], percent(score), limits))
    settings = list(
        dict.fromkeys(
            setting
            for report in reports
            for setting in report.result.protocols[name].columns(MODEL)
        )
    )
    rows = []
    for report in reports:
        scores = report.result.protocols[name].columns(MODEL)
        rows.append([report.folder, *(_cell(scores.get(setting)) for setting in settings)])
    parts: list[Part] = [
        Bars(bars, title=f"{reports[0].result.protocols[name].named_setting()}, %")
    ]
    return [*parts, Table(["report", *settings], rows, caption="Accuracy, %.")]


def _cell(score: Score | ExtraScore | None) -> Number | None:
    return None if score is None else Number(score.mean, percent(score))
