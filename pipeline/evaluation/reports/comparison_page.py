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
    best = max(comparison.reports, key=lambda report: _last(report, protocol))
    result = best.result.protocols[protocol]
    text = f"{best.folder} is best: {percent(result.last)} % by {result.named_setting()}"
    first, *others = comparison.reports
    if not others:
        return text
    # Differences are from the first report: where that is best, the runner-up's, turned round.
    rival = first if best is not first else max(others, key=lambda one: _last(one, protocol))
    of = others.index(best if best is not first else rival)
    for one in comparison.differences[of] or ():
        if one.protocol == protocol:
            points = f"{abs(100 * one.difference.mean):.1f} points above {rival.folder}"
            chance = "" if one.difference.is_significant else ", within chance"
            return f"{text}, {points} ({shown_p(one.difference.p_value)}{chance})"
    return text


def _last(report: Report, protocol: str) -> float:
    return report.result.protocols[protocol].last.mean


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
    title = f"{reports[0].result.protocols[name].named_setting()}, %"
    parts: list[Part] = [Bars(bars, title=title, full=1)]
    if len(settings) > 1:
        parts.append(Table(["report", *settings], rows, caption="Accuracy, %."))
    return parts


def _cell(score: Score | ExtraScore | None) -> Number | None:
    return None if score is None else Number(score.mean, percent(score))
