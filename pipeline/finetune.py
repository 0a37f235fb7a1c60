"""Own images and a trained model to a classifier: `python -m pipeline.finetune --help`.

The runs are those of `pipeline.pretrain`: strategies, resume and determinism are the same.
"""

from __future__ import annotations

from groundwork import command_line
from pipeline.devices.cluster import cluster_of
from pipeline.finetuning.finetune_config import FinetuneConfig
from pipeline.finetuning.finetune_dataset import prepared_dataset
from pipeline.process.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.finetune"


def main() -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(FinetuneConfig, prog=PROG)
    config.check()
    cluster = cluster_of(config)
    dataset = prepared_dataset(config, len(cluster.workers) if cluster else 1)
    import_tensorflow()
    from pipeline.finetuning.finetune_run import finetune
    from pipeline.process.interruptible import run_and_leave

    return run_and_leave(lambda: finetune(config, dataset))


if __name__ == "__main__":
    command_line.run_main(main)
