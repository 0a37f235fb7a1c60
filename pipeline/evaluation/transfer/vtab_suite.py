"""Several VTAB tasks in one evaluation, with scores per group and in all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from groundwork.errors import UserError
from pipeline.data.dataset.source import build_command
from pipeline.evaluation.reports.score_table import markdown
from pipeline.evaluation.tasks.task import Task
from pipeline.evaluation.tasks.vtab.open_vtab_task import find_tasks, open_vtab_task
from pipeline.evaluation.tasks.vtab.vtab_tasks import TASKS, VtabTask
from pipeline.evaluation.transfer.transfer_config import TransferConfig

Result = dict[str, Any]


def run_suite(
    config: TransferConfig, evaluate: Callable[[Task, Path], Result], output: Path
) -> Result:
    """Evaluate the tasks whose data is there; write result.json and report.md to `output`.

    Args:
        config: names the tasks.
        evaluate: evaluates one task and writes its report to a folder.
        output: folder; each task's report is a folder in it.

    Returns:
        What result.json holds: `tasks`, `groups` and `missing`.

    Raises:
        UserError: an unknown task, or no task's data is there.
    """
    results: dict[str, Result] = {}
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
    settings = _last_settings(config, next(iter(results.values())))
    scores = {
        name: {
            key: result[protocol]["model"][setting]["mean"] for key, protocol, setting in settings
        }
        for name, result in results.items()
    }
    summary = {
        "tasks": scores,
        "groups": group_means(scores),
        "complete": len(scores) == len(TASKS),
        "missing": missing,
    }
    text = _report(summary, remedy)
    output.mkdir(parents=True, exist_ok=True)
    (output / "result.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (output / "report.md").write_text(f"# VTAB-1k of {config.model}\n\n{text}", encoding="utf-8")
    print(f"\n{text}\nreport    {output}/report.md", flush=True)
    return summary


def group_means(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean accuracy over the tasks of each group, and over all tasks.

    Args:
        scores: accuracies, 0 to 1, by task and protocol.
    """
    members: dict[str, list[dict[str, float]]] = {}
    for task in _measured(scores):
        members.setdefault(task.group, []).append(scores[task.name])
    members["all"] = list(scores.values())
    return {
        group: {key: float(np.mean([one[key] for one in ones])) for key in ones[0]}
        for group, ones in members.items()
    }


def how_to_get(missing: dict[str, str], data_dir: str | None) -> list[str]:
    """Commands that prepare the missing datasets, each once."""
    names = dict.fromkeys(task.tfds_name for task in TASKS if task.name in missing)
    return list(dict.fromkeys(build_command(name, data_dir) for name in names))


def _measured(scores: dict[str, dict[str, float]]) -> list[VtabTask]:
    return [task for task in TASKS if task.name in scores]


def _last_settings(config: TransferConfig, result: Result) -> list[tuple[str, str, str]]:
    """For each protocol its column, its name, and the setting that the column shows."""
    columns: list[tuple[str, str, str]] = []
    for protocol in config.protocols:
        setting = list(result[protocol]["model"])[-1]
        column = protocol if setting == protocol else f"{protocol} {setting}"
        columns.append((column, protocol, setting))
    return columns


def _report(summary: Result, remedy: list[str]) -> str:
    columns = list(next(iter(summary["tasks"].values())))
    rows = [["accuracy, %", *columns]]
    for task in _measured(summary["tasks"]):
        rows.append([task.name, *_cells(summary["tasks"][task.name])])
    for group, means in summary["groups"].items():
        rows.append([f"mean, {group}", *_cells(means)])
    text = f"VTAB-1k, 800 + 200 training images\n\n{markdown(rows)}"
    if summary["missing"]:
        text += (
            f"\n{len(summary['tasks'])} of {len(TASKS)} tasks: the means are not those of VTAB. "
            "To get the others (some ask for a manual download first):\n\n"
            + "".join(f"    {command}\n" for command in remedy)
        )
    return text


def _cells(means: dict[str, float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in means.values()]
