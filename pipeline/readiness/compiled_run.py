"""A run's step compiled for a machine that need not be here, and what would make it fit."""

from __future__ import annotations

import sys

from pipeline.readiness.compilers.compile_step import TooLarge, check_installed
from pipeline.readiness.compilers.report import accumulation_that_fits, report_step
from pipeline.readiness.compilers.targets import Target
from pipeline.readiness.dataset_sizes import dataset_size
from pipeline.readiness.preflight_config import PreflightConfig

DOES_NOT_FIT = 1
"""Exit status."""


def compile_run(config: PreflightConfig, target: Target) -> int:
    """Compile, print the report, and where the step does not fit what would make it; exit status.

    Raises:
        UserError: the batch cannot be shared out, the target does not have the precision, or its
            compiler is not installed.
        JobError: the compiler refuses the program, or takes too long.
    """
    check_installed(target)
    num_classes, images, missing = dataset_size(config)
    if missing:
        print(f"dataset   taken to have {num_classes} classes: {missing}")
    steps = config.steps if images is None else config.planned_steps(images)
    limit = config.compile_seconds
    try:
        report = report_step(
            config, target, num_classes=num_classes, total_steps=steps, time_limit=limit
        )
        print(report)
        if report.memory.left >= 0:
            return 0
    except TooLarge as error:
        print(error, file=sys.stderr)
    count = accumulation_that_fits(config, target, num_classes=num_classes, time_limit=limit)
    print(
        "remedy    no number of microbatches makes it fit: choose more chips, --model.remat true, "
        "--optim.moment_dtype bfloat16 or a smaller model"
        if count is None
        else f"remedy    --accumulate {count} makes it fit"
    )
    return DOES_NOT_FIT
