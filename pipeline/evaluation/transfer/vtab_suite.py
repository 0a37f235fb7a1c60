"""Several VTAB tasks in one evaluation, with scores per group and in all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from groundwork import pages, storage
from groundwork.errors import UserError
from pipeline.data.dataset.source import build_command
from pipeline.evaluation.reports.score_table import markdown
from pipeline.evaluation.reports.transfer_result import FILE_NAME, TransferResult
from pipeline.evaluation.tasks.task import Task
from pipeline.evaluation.tasks.vtab.open_vtab_task import find_tasks, open_vtab_task
from pipeline.evaluation.tasks.vtab.vtab_tasks import TASKS, VtabTask
from pipeline.evaluation.transfer.transfer_config import TransferConfig

Scores = dict[str, dict[str, float]]
"""Accuracies, 0 to 1, by task or group, then by column."""


@dataclass(frozen=True)
class SuiteResult:
    """What result.json of a suite holds."""

    tasks: Scores
    """Of each task that was run."""
    groups: Scores
    """Means over the tasks of each group, and over all."""
    complete: bool
    """Whether every task was run, so that the means are those of VTAB."""
    missing: dict[str, str]
    """Of each task that was not run, why."""


def run_suite(
    config: TransferConfig, evaluate: Callable[[Task, Path], TransferResult], output: Path
) -> SuiteResult:
    """Evaluate the tasks whose data is there; write result.json and reports to `output`.

    Args:
        config: names the tasks.
        evaluate: evaluates one task and writes its report to a folder.
        output: folder; each task's report is a folder in it.

    Raises:
        UserError: an unknown task, or no task's data is there.
    """
    results: dict[str, TransferResult] = {}
    missing: dict[str, str] = {}
    for task in find_tasks(config.tasks):
        try:
            opened = open_vtab_task(task, config.data.data_dir)
        except UserError as error:
            missing[task.name] = str(error)
            continue
        print(f"\n{opened.name}", flush=True)
        results[task.name] = evaluate(opened, output / task.name)
    remedy = how_to_get(missing, config.data.data_dir)
    if not results:
        raise UserError(
            f"the data of no task is there; missing: {', '.join(missing)}. {' '.join(remedy)}"
        )
    scores = {name: _last_scores(result) for name, result in results.items()}
    summary = SuiteResult(
        tasks=scores,
        groups=group_means(scores),
        complete=len(scores) == len(TASKS),
        missing=missing,
    )
    text = _report(summary, remedy)
    storage.write_text(str(output / "report.md"), f"# VTAB-1k of {config.model}\n\n{text}")
    pages.write(suite_page(config.model, summary, remedy), str(output / "report.html"))
    stored = json.dumps(asdict(summary), indent=2, ensure_ascii=False)
    storage.write_text(str(output / FILE_NAME), f"{stored}\n")
    print(f"\n{text}\nreport    {output}/report.html", flush=True)
    return summary


def group_means(scores: Scores) -> Scores:
    """Mean accuracy over the tasks of each group, and over all tasks."""
    members: dict[str, list[dict[str, float]]] = {}
    for task in _measured(scores):
        members.setdefault(task.group, []).append(scores[task.name])
    members["all"] = list(scores.values())
    return {
        group: {key: float(np.mean([one[key] for one in ones])) for key in ones[0]}
        for group, ones in members.items()
    }


def how_to_get(missing: Mapping[str, str], data_dir: str | None) -> list[str]:
    """Commands that prepare the missing datasets, each once."""
    names = dict.fromkeys(task.tfds_name for task in TASKS if task.name in missing)
    return list(dict.fromkeys(build_command(name, data_dir) for name in names))


def suite_page(model: str, summary: SuiteResult, remedy: list[str]) -> pages.Page:
    """The page of a suite: means, then every task with a link to read on by its folder's name."""
    columns = list(next(iter(summary.tasks.values())))
    column = columns[-1]
    mean = summary.groups["all"][column]
    of = "all 19 tasks" if summary.complete else f"{len(summary.tasks)} of {len(TASKS)} tasks"
    groups = {task.name: task.group for task in TASKS}
    table = pages.Table(
        ["task", "group", *(pages.Column(name, ".1%", bar=True, full=1) for name in columns)],
        [[name, groups[name], *scores.values()] for name, scores in summary.tasks.items()],
        caption="The report of each task is the folder of its name beside this page.",
    )
    sections = [pages.Section("Tasks", [table])]
    if summary.missing:
        commands: list[pages.Part] = [pages.Code("\n".join(remedy))]
        lead = f"{', '.join(summary.missing)}. Some ask for a manual download first."
        sections.append(pages.Section("Not run: their data is missing", commands, lead=lead))
    bars = [
        pages.Bar(group, [scores[column]], f"{100 * scores[column]:.1f}", muted=group != "all")
        for group, scores in summary.groups.items()
    ]
    return pages.Page(
        kind="VTAB-1k",
        subject=model,
        headline=f"{100 * mean:.1f} % on average over {of} ({column})",
        lead="800 + 200 training images a task."
        + ("" if summary.complete else " The means are not those of VTAB: tasks are missing."),
        sections=sections,
        summary=[pages.Bars(bars, title=f"Mean accuracy by group, {column}, %", full=1)],
    )


def _measured(scores: Scores) -> list[VtabTask]:
    return [task for task in TASKS if task.name in scores]


def _last_scores(result: TransferResult) -> dict[str, float]:
    """The accuracy at each protocol's last setting, by the name of its column."""
    return {
        name if protocol.last_setting == name else f"{name} {protocol.last_setting}": (
            protocol.last.mean
        )
        for name, protocol in result.protocols.items()
    }


def _report(summary: SuiteResult, remedy: list[str]) -> str:
    columns = list(next(iter(summary.tasks.values())))
    rows = [["accuracy, %", *columns]]
    for task in _measured(summary.tasks):
        rows.append([task.name, *_cells(summary.tasks[task.name])])
    for group, means in summary.groups.items():
        rows.append([f"mean, {group}", *_cells(means)])
    text = f"VTAB-1k, 800 + 200 training images\n\n{markdown(rows)}"
    if summary.missing:
        text += (
            f"\n{len(summary.tasks)} of {len(TASKS)} tasks: the means are not those of VTAB. "
            "To get the others (some ask for a manual download first):\n\n"
            + "".join(f"    {command}\n" for command in remedy)
        )
    return text


def _cells(means: Mapping[str, float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in means.values()]
