"""Compile a run's step: `python -m pipeline.readiness.compilers --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from groundwork.errors import UserError
from pipeline import cli
from pipeline.check_config import check_config
from pipeline.config import PretrainConfig
from pipeline.readiness.compilers.targets import find_target
from pipeline.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.readiness.compilers"
DEFAULT_CONFIG = "configs/quickstart.yaml"


@dataclass
class CompileConfig(PretrainConfig):
    """Compile the train step of a run by the compiler of a TPU or GPU that need not be here. Takes
    the options of `python -m pipeline.pretrain` and tells memory, FLOPs, traffic and the bounds
    that follow. Needs the extra `aot`."""

    compile: str = "v5e"
    """Target: v4, v5e, v5p, v6e, a100, h100, h200, l4 or t4 for one chip, or with -CHIPS for a
    slice or machine of them, such as v5e-16; these are chips also where Google Cloud's names count
    cores, as in v4-8 and v5p-8."""
    classes: int = 1000
    """Outputs of the head."""
    train_images: int | None = None
    """Images of the training split, from which `epochs` gives the steps of the run; null: the
    chip-hours of a run that names epochs are not told."""
    compile_seconds: float = 3600.0
    """Seconds that the compiler may take."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 1 if the step does not fit, otherwise 0."""
    config = cli.parse(CompileConfig, argv, prog=PROG, default_config=DEFAULT_CONFIG)
    check_config(config)
    target = find_target(config.compile)
    for name in ("classes", "train_images", "compile_seconds"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UserError(f"{name} is {value}: it must be greater than 0")
    import_tensorflow()
    from pipeline.readiness.compilers.compile_step import TooLarge, check_installed
    from pipeline.readiness.compilers.report import accumulation_that_fits, report_step

    check_installed(target)
    total_steps = config.steps
    if config.epochs is not None and config.train_images is not None:
        total_steps = round(config.epochs * (config.train_images // config.batch_size))
    try:
        report = report_step(
            config,
            target,
            num_classes=config.classes,
            total_steps=total_steps,
            time_limit=config.compile_seconds,
        )
        print(report)
        if report.memory.left >= 0:
            return 0
    except TooLarge as error:
        print(error, file=sys.stderr)
    count = accumulation_that_fits(
        config, target, num_classes=config.classes, time_limit=config.compile_seconds
    )
    print(
        "remedy    no number of microbatches makes it fit: choose more chips, --model.remat true, "
        "--optim.moment_dtype bfloat16 or a smaller model"
        if count is None
        else f"remedy    --accumulate {count} makes it fit"
    )
    return 1


if __name__ == "__main__":
    cli.run_main(main)
