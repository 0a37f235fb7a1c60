"""What a study will cost, before anything of it is run."""

from __future__ import annotations

from pipeline.evaluation.reports.score_table import markdown
from pipeline.study.cost import training_cost
from pipeline.study.member_folder import pretrain_config
from pipeline.study.study_config import StudyConfig

SECONDS_PER_HOUR = 3600.0
HOURS_PER_DAY = 24.0


def plan_table(config: StudyConfig) -> str:
    """FLOPs, device-hours, device-days and storage of each member and in all, as Markdown.

    Raises:
        UserError: a recipe that cannot be.
    """
    assumed = config.assumptions
    sustained = assumed.peak_tflops * 1e12 * assumed.utilization
    rows = [
        [
            "member",
            "family",
            "parameters, M",
            "GFLOPs an image",
            "images seen, M",
            "FLOPs",
            "hours",
            "days",
            "storage, GB",
        ]
    ]
    total_flops = total_bytes = 0.0
    for member in config.members:
        recipe = pretrain_config(config, member)
        images = recipe.planned_steps(assumed.train_images) * recipe.batch_size
        cost = training_cost(recipe, assumed.num_classes, images)
        total_flops += cost.flops
        total_bytes += cost.storage_bytes
        rows.append(
            [
                member.name,
                member.family,
                _number(cost.model.parameters / 1e6),
                _number(cost.model.forward_flops / 1e9),
                _number(images / 1e6),
                *_amounts(cost.flops, cost.storage_bytes, sustained),
            ]
        )
    rows.append(["all", "", "", "", "", *_amounts(total_flops, total_bytes, sustained)])
    return (
        f"{markdown(rows)}\n"
        f"Hours and days are those of one {assumed.device} at {100 * assumed.utilization:g} % of "
        f"its peak of {assumed.peak_tflops:g} TFLOP/s; n devices take 1/n of them. Reckoned with "
        f"{assumed.train_images:,} training images of {assumed.num_classes:,} classes. FLOPs are "
        "those of forward and backward pass (2 for a multiply-add) of the training alone, "
        "without evaluation and transfer. Storage: checkpoints and exports.\n"
    )


def _amounts(flops: float, stored: float, sustained: float) -> list[str]:
    hours = flops / sustained / SECONDS_PER_HOUR
    return [
        f"{flops:.2e}",
        _number(hours),
        _number(hours / HOURS_PER_DAY),
        _number(stored / 1e9),
    ]


def _number(value: float) -> str:
    """Three figures, without an exponent, such as 0.00123, 12.3 or 4,260."""
    if value == 0 or value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:#.3g}" if value >= 1e-3 else f"{value:.2g}"
