"""Check that a run would start, and fit: `python -m pipeline.preflight --help`."""

from __future__ import annotations

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2 if a check is an error, 1 if the compiled step
    does not fit the target, otherwise 0."""
    config = command_line.parse(PreflightConfig, argv, prog=PROG, default_config=DEFAULT_RECIPE)
    check_run_config(config)
    for name in ("replicas", "device_memory", "compile_seconds", "train_images"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UserError(f"{name} is {value}: it must be greater than 0")
    target = find_target(config.compile) if config.compile else None
    import_tensorflow()
    if target is not None:
        from pipeline.readiness.compiled_run import compile_run

        return compile_run(config, target)
    from pipeline.readiness.run_checks import preflight

    checks = preflight(config)
    print(table(checks))
    return UserError.exit_status if any(check.status == "error" for check in checks) else 0


if __name__ == "__main__":
    command_line.run_main(main)
