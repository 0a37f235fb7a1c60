"""Evaluate how a model transfers: `python -m pipeline.transfer --help`."""

from __future__ import annotations

from pipeline import cli
from pipeline.evaluation.config import TransferConfig
from pipeline.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.transfer"


def main() -> int:
    """Run the command; returns the exit status."""
    config = cli.parse(TransferConfig, prog=PROG)
    import_tensorflow()
    from pipeline.evaluation.run import run_transfer

    run_transfer(config)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
