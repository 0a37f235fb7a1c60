"""Check that a run would start, and fit: `python -m pipeline.preflight --help`."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import cli
from pipeline.check_config import check_config
from groundwork.errors import UserError
from pipeline.preflight.check import table
from pipeline.preflight.config import PreflightConfig
from pipeline.pretrain import DEFAULT_CONFIG
from pipeline.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.preflight"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2 if a check is an error, otherwise 0."""
    config = cli.parse(PreflightConfig, argv, prog=PROG, default_config=DEFAULT_CONFIG)
    check_config(config)
    for name in ("replicas", "device_memory"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UserError(f"{name} is {value}: it must be greater than 0")
    import_tensorflow()
    from pipeline.preflight.preflight import preflight

    checks = preflight(config)
    print(table(checks))
    return UserError.exit_status if any(check.status == "error" for check in checks) else 0


if __name__ == "__main__":
    cli.run_main(main)
