"""Evaluate how a model transfers: `python -m pipeline.transfer --help`."""

from __future__ import annotations

from groundwork import command_line
from pipeline.evaluation.transfer.check_transfer_config import check_transfer_config
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.process.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.transfer"


def main() -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(TransferConfig, prog=PROG)
    check_transfer_config(config)  # before TensorFlow, which takes seconds
    import_tensorflow()
    from pipeline.evaluation.transfer.transfer_evaluation import run_transfer

    run_transfer(config)
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
