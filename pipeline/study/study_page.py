"""The page of a study: which family is better for the same compute, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from groundwork.pages import (
    Bar,
    Bars,
    Card,
    Cards,
    Code,
    Column,
    Figure,
    Fold,
    Number,
    Page,
    Part,
    Section,
    Table,
    Text,
)
from pipeline.study.pareto import FamilyRatio
from pipeline.study.results import UNITS, DownstreamScore, MemberResult, mean_score
from pipeline.study.study_config import StudyConfig

FIGURE = "Transfer accuracy against pre-training compute"


def study_page(
    config: StudyConfig,
    results: Sequence[MemberResult],
    names: Sequence[str],
    ratios: Sequence[FamilyRatio],
    notes: Sequence[str],
    figure: bytes | None,
) -> Page:
    """The page.

    Args:
        config: of the study.
        results: the finished members, at least one.
        names: the datasets that all of them were evaluated on.
        ratios: of the families' compute.
        notes: what to know when reading it.
        figure: PNG file; None: there is no common dataset.
    """
    drawn = [Figure(figure, FIGURE, notes[0])] if figure else []
    sections = [Section("Members", [_bars(results, names), _members(results, names)])]
    if ratios:
        sections.insert(0, Section("Compute at equal accuracy", [_ratios(ratios)]))
    if drawn:
        sections.insert(0, Section("Accuracy against compute", drawn))
    sections.append(Section("Raw values", [Fold("The study's options", [_options(config)])]))
    summary: list[Part] = [_cards(config, results)]
    summary += [Text(note, tone="bad") for note in notes[1:]]
    return Page(
        kind="Compute study",
        subject=config.output,
        headline=_headline(results, names, ratios),
        lead=f"Accuracy is {config.score}, the mean over {', '.join(names) or 'no dataset yet'}.",
        sections=sections,
        summary=summary,
    )


def _headline(
    results: Sequence[MemberResult], names: Sequence[str], ratios: Sequence[FamilyRatio]
) -> str:
    if not names:
        return f"{len(results)} members are finished, and no dataset is common to them"
    best = max(results, key=lambda result: mean_score(result, names).mean)
    text = f"{best.name} ({best.family}) is best: {_percent(mean_score(best, names))} %"
    found = [_ratio_words(one) for one in ratios if one.unit == "flops" and one.ratio]
    return "; ".join([text, *found])


def _ratio_words(one: FamilyRatio) -> str:
    assert one.ratio is not None
    return (
        f"for the same accuracy {one.family} takes {one.ratio.mean:.2g} times the FLOPs of "
        f"{one.reference}"
    )


def _cards(config: StudyConfig, results: Sequence[MemberResult]) -> Cards:
    families = dict.fromkeys(result.family for result in results)
    return Cards(
        [
            Card("Finished", f"{len(results)} of {len(config.members)}", "members"),
            Card("Families", f"{len(families)}", ", ".join(families)),
            Card("FLOPs", f"{sum(one.flops for one in results):.2e}", "pre-training of all"),
            Card("Device-hours", f"{sum(one.device_hours for one in results):,.1f}", "measured"),
        ]
    )


def _bars(results: Sequence[MemberResult], names: Sequence[str]) -> Bars:
    """The members by accuracy, the best first."""
    if not names:
        return Bars([])
    scored = [(result, mean_score(result, names)) for result in results]
    scored.sort(key=lambda pair: -pair[1].mean)
    bars = [
        Bar(
            f"{result.name} ({result.family})",
            [score.mean],
            _percent(score),
            (max(0.0, score.mean - score.error), min(1.0, score.mean + score.error)),
        )
        for result, score in scored
    ]
    return Bars(bars, title="Mean accuracy, %", caption="Lines: one standard error.")


def _members(results: Sequence[MemberResult], names: Sequence[str]) -> Table:
    columns = list(dict.fromkeys(name for result in results for name in result.scores))
    mean = ["mean, %"] if len(names) > 1 else []
    rows: list[list[str | int | float | Number | None]] = []
    for result in results:
        row: list[str | int | float | Number | None] = [
            result.name,
            result.family,
            result.parameters / 1e6,
            result.steps,
            result.flops,
            result.device_hours,
            result.flops / result.device_hours / 3600 / 1e12,
            *(_cell(result.scores.get(name)) for name in columns),
        ]
        rows.append(row + [_cell(mean_score(result, names))] * len(mean))
    heads: list[Column | str] = [
        "member",
        "family",
        Column("parameters, M", ".2f"),
        Column("steps"),
        Column("FLOPs", ".2e"),
        Column("device-hours", ",.2f"),
        Column("TFLOP/s", ".3g"),
    ]
    return Table([*heads, *(f"{name}, %" for name in columns), *mean], rows)


def _ratios(ratios: Sequence[FamilyRatio]) -> Table:
    rows: list[list[str | float | Number | None]] = []
    for one in ratios:
        pair, unit, found = f"{one.family} / {one.reference}", UNITS[one.unit], one.ratio
        if found is None:
            rows.append([pair, unit, None, None, one.why_none or ""])
            continue
        interval = None
        if found.interval:
            low, high = found.interval
            interval = Number(low, f"{low:.2g} to {high:.2g}")
        accuracies = f"{100 * found.lowest_accuracy:.1f} to {100 * found.highest_accuracy:.1f}"
        rows.append([pair, unit, found.mean, interval, accuracies])
    return Table(
        ["families", "in", Column("ratio", ".2f"), "95 % interval", "at accuracies, %"], rows
    )


def _cell(score: DownstreamScore | None) -> Number | None:
    return None if score is None else Number(score.mean, _percent(score))


def _percent(score: DownstreamScore) -> str:
    return f"{100 * score.mean:.1f} ± {100 * score.error:.1f}"


def _options(config: StudyConfig) -> Code:
    return Code.of_json(asdict(config))
