"""What the finished members of a study have cost and how well they transfer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundwork.errors import UserError
from pipeline.evaluation.reports.transfer_result import TransferResult, read_result
from pipeline.study.cost import training_cost
from pipeline.study.member_folder import MemberFolder, pretrain_config
from pipeline.study.pareto import Point
from pipeline.study.study_config import StudyConfig

SECONDS_PER_HOUR = 3600.0
UNITS = {"flops": "FLOPs", "device_hours": "device-hours"}
"""Units of compute: fields of `MemberResult`, with their names."""


@dataclass(frozen=True)
class DownstreamScore:
    """Accuracy on one downstream dataset."""

    mean: float
    """Over the seeds, from 0 to 1."""
    error: float
    """Standard error: of the draw of the test images and of the seeds."""


@dataclass(frozen=True)
class MemberResult:
    """A finished member."""

    name: str
    family: str
    parameters: int
    steps: int
    images: int
    flops: float
    """Of the pre-training."""
    device_hours: float
    """Wall-clock hours of the training steps times devices."""
    scores: dict[str, DownstreamScore]
    """By downstream dataset, those that there are."""


def read_results(config: StudyConfig) -> list[MemberResult]:
    """The members that are trained and evaluated on at least one dataset.

    Raises:
        UserError: members were trained on, or tested on, different data.
    """
    results, fingerprints = [], {}
    for member in config.members:
        folder = MemberFolder(config, member)
        reports = {
            dataset.name: read_result(str(folder.report(dataset)))
            for dataset in config.downstream
            if folder.is_evaluated(dataset)
        }
        scores = {name: _downstream_score(one, config.score) for name, one in reports.items()}
        if not folder.is_trained or not scores:
            continue
        trained = folder.training_data
        fingerprints[member.name] = {"pre-training": trained["fingerprint"]} | {
            name: report.data.test.fingerprint for name, report in reports.items()
        }
        recipe = pretrain_config(config, member)
        steps, hours = read_training(folder.workdir / "metrics.jsonl")
        cost = training_cost(recipe, trained["num_classes"], steps * recipe.batch_size)
        results.append(
            MemberResult(
                name=member.name,
                family=member.family,
                parameters=cost.model.parameters,
                steps=steps,
                images=cost.images,
                flops=cost.flops,
                device_hours=hours,
                scores=scores,
            )
        )
    _check_same_data(fingerprints)
    return results


def common_downstream(results: Sequence[MemberResult]) -> list[str]:
    """The datasets that every one of the members was evaluated on."""
    first, *others = results
    return [name for name in first.scores if all(name in other.scores for other in others)]


def mean_score(result: MemberResult, names: Sequence[str]) -> DownstreamScore:
    """Mean accuracy over datasets, each weighing the same."""
    scores = [result.scores[name] for name in names]
    mean = sum(score.mean for score in scores) / len(scores)
    error = math.sqrt(sum(score.error**2 for score in scores)) / len(scores)
    return DownstreamScore(mean, error)


def points(
    results: Sequence[MemberResult], names: Sequence[str], unit: str
) -> dict[str, list[Point]]:
    """Points of each family, families in the order of their first members.

    Args:
        results: finished members.
        names: datasets to take the mean over.
        unit: flops or device_hours.
    """
    by_family: dict[str, list[Point]] = {}
    for result in results:
        score = mean_score(result, names)
        point = Point(getattr(result, unit), score.mean, score.error)
        by_family.setdefault(result.family, []).append(point)
    return by_family


def read_training(metrics: Path) -> tuple[int, float]:
    """Steps of a run and the device-hours that they took, from its metrics.jsonl.

    The first step's compilation counts; evaluation, checkpoints and start-up do not, and neither
    do steps that were lost and made again.
    """
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    step, seconds = 0, 0.0
    for row in rows:
        if "speed/step_seconds" in row:
            devices = round(
                row["speed/images_per_second"] / row["speed/images_per_second_per_device"]
            )
            seconds += row["speed/step_seconds"] * (row["step"] - step) * devices
            step = row["step"]
    return step, seconds / SECONDS_PER_HOUR


def _downstream_score(result: TransferResult, score: str) -> DownstreamScore:
    protocol, _, setting = score.partition("/")
    by_setting = result.protocols[protocol].model if protocol in result.protocols else {}
    if setting not in by_setting:
        there = [f"{name}/{key}" for name, one in result.protocols.items() for key in one.model]
        raise UserError(
            f"score is {score}, and the transfer reports have {', '.join(there)}: choose one of "
            "these, or change transfer.protocols"
        )
    found = by_setting[setting]
    images, runs = result.data.test.num_examples, len(found.accuracies)
    sampling = found.mean * (1 - found.mean) / images
    return DownstreamScore(found.mean, math.sqrt(sampling + found.std**2 / runs))


def _check_same_data(fingerprints: dict[str, dict[str, str]]) -> None:
    """Raise a UserError where members saw different data under one name."""
    first: dict[str, tuple[str, str]] = {}
    for member, by_data in fingerprints.items():
        for data, fingerprint in by_data.items():
            other, expected = first.setdefault(data, (member, fingerprint))
            if fingerprint != expected:
                raise UserError(
                    f"members {other} and {member} saw different data as {data}: the folder was "
                    f"written anew in between; train one of them anew with --retrain"
                )
