"""The report of a study: results.json, table.md, figure.png, study.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from groundwork import pages, storage
from pipeline.evaluation.reports.score_table import markdown
from pipeline.figures.study_figure import Marked, draw_figure
from pipeline.study.pareto import FamilyRatio, Point, Ratio, compute_ratio, pareto_front
from pipeline.study.results import (
    UNITS,
    DownstreamScore,
    MemberResult,
    common_downstream,
    mean_score,
    points,
)
from pipeline.study.study_config import StudyConfig
from pipeline.study.study_page import study_page

TITLE = "Transfer accuracy against pre-training compute"
AXES = {
    "flops": "pre-training compute, FLOPs",
    "device_hours": "pre-training, measured device-hours",
}
CAPTION = (
    "Lines join the members of a family that no cheaper one of it matches. Bars: one standard "
    "error, of the draw of the test images and of the few shots; every member was trained once, so "
    "that the seed of pre-training is not in it."
)


def write_report(
    config: StudyConfig, results: Sequence[MemberResult], absent: dict[str, str]
) -> str:
    """Draw what is finished; write every file of the report.

    Args:
        config: of the study.
        results: the finished members, at least one.
        absent: datasets that are not there, with how to get them.

    Returns:
        Tables and notes, as Markdown.
    """
    output = Path(config.output)
    names = common_downstream(results)
    tables = {"Members": _member_rows(results, names)}
    notes = _notes(config, results, names, absent)
    ratios: list[FamilyRatio] = []
    if names:
        label = f"{config.score} accuracy, mean over {', '.join(names)}, %"
        draw_figure(_panels(results, names), TITLE, label, output / "figure.png")
        ratios = _ratios(results, names)
        if ratios:
            tables["Compute at equal accuracy"] = _ratio_rows(ratios)
    text = "\n".join(f"{title}\n\n{markdown(rows)}" for title, rows in tables.items())
    text += "".join(f"\n{note}\n" for note in notes)
    storage.write_text(
        str(output / "table.md"), f"# {TITLE}\n\n{text}" + "\n![figure](figure.png)\n" * bool(names)
    )
    figure = (output / "figure.png").read_bytes() if names else None
    page = study_page(config, results, names, ratios, notes, figure)
    pages.write(page, str(output / "study.html"))
    stored = {
        "score": config.score,
        "downstream": names,
        "absent": absent,
        "members": [
            asdict(result) | {"mean": asdict(mean_score(result, names)) if names else None}
            for result in results
        ],
        "unfinished": _unfinished(config, results),
        "ratios": [asdict(one) for one in ratios],
        "config": asdict(config),
    }
    storage.write_text(
        str(output / "results.json"), json.dumps(stored, indent=2, ensure_ascii=False) + "\n"
    )
    return text


def _panels(
    results: Sequence[MemberResult], names: Sequence[str]
) -> dict[str, dict[str, list[Marked]]]:
    """What the figure shows: for each unit of compute, the members by family."""
    panels = {}
    for unit, axis_label in AXES.items():
        families: dict[str, list[Marked]] = {}
        fronts = {
            family: pareto_front(members)
            for family, members in points(results, names, unit).items()
        }
        for result in results:
            score = mean_score(result, names)
            point = Point(getattr(result, unit), score.mean, score.error)
            families.setdefault(result.family, []).append(
                Marked(
                    name=result.name,
                    compute=point.compute,
                    accuracy=100 * point.accuracy,
                    error=100 * point.error,
                    on_front=point in fronts[result.family],
                )
            )
        panels[axis_label] = families
    return panels


def _member_rows(results: Sequence[MemberResult], names: Sequence[str]) -> list[list[str]]:
    columns = list(dict.fromkeys(name for result in results for name in result.scores))
    rows = [
        ["member", "family", "parameters, M", "steps", "FLOPs", "device-hours", "TFLOP/s"]
        + [f"{name}, %" for name in columns]
        + ["mean, %"] * (len(names) > 1)
    ]
    for result in results:
        row = [
            result.name,
            result.family,
            f"{result.parameters / 1e6:.2f}",
            f"{result.steps}",
            f"{result.flops:.2e}",
            f"{result.device_hours:.3g}",
            f"{result.flops / result.device_hours / 3600 / 1e12:.3g}",
            *(_percent(result.scores.get(name)) for name in columns),
        ]
        rows.append(row + [_percent(mean_score(result, names))] * (len(names) > 1))
    return rows


def _ratios(results: Sequence[MemberResult], names: Sequence[str]) -> list[FamilyRatio]:
    """Each other family against the first, in each unit of compute."""
    ratios = []
    for unit in UNITS:
        (reference, ours), *others = points(results, names, unit).items()
        for family, theirs in others:
            ratio = compute_ratio(theirs, ours)
            ratios.append(
                FamilyRatio(
                    family, reference, unit, ratio, None if ratio else _no_overlap(theirs, ours)
                )
            )
    return ratios


def _ratio_rows(ratios: Sequence[FamilyRatio]) -> list[list[str]]:
    rows = [
        ["compute, to that of", "in", "at accuracies, %", "ratio", "95 % interval", "from – to"]
    ]
    for one in ratios:
        cells = _ratio_cells(one.ratio) if one.ratio else [one.why_none or "–", "–", "–", "–"]
        rows.append([f"{one.family} / {one.reference}", UNITS[one.unit], *cells])
    return rows


def _no_overlap(family: Sequence[Point], reference: Sequence[Point]) -> str:
    ranges = [
        f"{100 * front[0].accuracy:.1f} to {100 * front[-1].accuracy:.1f}"
        for front in (pareto_front(family), pareto_front(reference))
    ]
    return f"none: {' and '.join(ranges)} do not overlap"


def _ratio_cells(ratio: Ratio) -> list[str]:
    low, high = (100 * value for value in (ratio.lowest_accuracy, ratio.highest_accuracy))
    interval = "[{:.2g}, {:.2g}]".format(*ratio.interval) if ratio.interval else "–"
    return [
        f"{low:.1f} to {high:.1f}",
        f"{ratio.mean:.2f}",
        interval,
        f"{ratio.at_lowest:.2f} – {ratio.at_highest:.2f}",
    ]


def _notes(
    config: StudyConfig,
    results: Sequence[MemberResult],
    names: Sequence[str],
    absent: dict[str, str],
) -> list[str]:
    notes = [f"Accuracy is {config.score}. {CAPTION}"]
    notes += [f"Absent: {name}. {how}" for name, how in absent.items()]
    unfinished = _unfinished(config, results)
    if unfinished:
        notes.append(f"Not finished: {', '.join(unfinished)}.")
    partly = {name for result in results for name in result.scores} - set(names)
    if partly:
        notes.append(
            f"Not every member has been evaluated on {', '.join(sorted(partly))}: left out of the "
            "figure and the mean until then."
        )
    return notes


def _unfinished(config: StudyConfig, results: Sequence[MemberResult]) -> list[str]:
    finished = {result.name for result in results}
    return [member.name for member in config.members if member.name not in finished]


def _percent(score: DownstreamScore | None) -> str:
    return "–" if score is None else f"{100 * score.mean:.1f} ± {100 * score.error:.1f}"
