"""Check that a run would start, and fit: `python -m pipeline.preflight --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.process.check import table
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.readiness.compilers.targets import find_target
from pipeline.readiness.preflight_config import PreflightConfig
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import DEFAULT_RECIPE

PROG = "python -m pipeline.preflight"
NAMED = "all"
"""As a target: what each recipe names itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2 if a check is an error, 1 if a compiled step does
    not fit its target, otherwise 0."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = _parse(arguments)
    several = bool(config.recipes) or config.compile == NAMED
    if config.recipes and config.compile is None:
        raise UserError(
            f"{config.recipes[0]}: say what to compile recipes for: --compile all, or a target; to "
            "check one of them, give it as --config"
        )
    target = find_target(config.compile) if config.compile not in (None, NAMED) else None
    import_tensorflow()
    if several:
        from pipeline.readiness.recipe_table import print_table, runs_of

        runs = runs_of(config.recipes, target, lambda path: _parse(["--config", path, *arguments]))
        return 0 if print_table(runs) else 1
    if target is not None:
        from pipeline.readiness.compiled_run import compile_run

        return compile_run(config, target)
    from pipeline.readiness.run_checks import preflight

    checks = preflight(config)
    print(table(checks))
    return UserError.exit_status if any(check.status == "error" for check in checks) else 0


def _parse(arguments: Sequence[str]) -> PreflightConfig:
    config = command_line.parse(
        PreflightConfig, arguments, prog=PROG, default_config=DEFAULT_RECIPE
    )
    check_run_config(config)
    for name in ("replicas", "device_memory", "train_images"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UserError(f"{name} is {value}: it must be greater than 0")
    if config.compile_seconds < 0:
        raise UserError(f"compile_seconds is {config.compile_seconds:g}: it must not be negative")
    return config


if __name__ == "__main__":
    command_line.run_main(main)
