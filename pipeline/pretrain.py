"""Pre-train a Vision Transformer: `python -m pipeline.pretrain --help`.

Every stage goes on where an earlier, stopped run of the same command was: the dataset, the
training, the export, the transfer evaluation.
"""

from __future__ import annotations

from groundwork import command_line
from pipeline.data.dataset.prepare_source import prepare_source
from pipeline.devices.cluster import cluster_of
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import DEFAULT_RECIPE, PretrainConfig

PROG = "python -m pipeline.pretrain"


def main() -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(PretrainConfig, prog=PROG, default_config=DEFAULT_RECIPE)
    check_run_config(config)
    cluster = cluster_of(config)
    workers = len(cluster.workers) if cluster else 1
    prepare_source(config.data.source, config.data.prepare, workers)
    import_tensorflow()
    from pipeline.process.interruptible import run_and_leave
    from pipeline.run.run_stages import run

    return run_and_leave(lambda: run(config))


if __name__ == "__main__":
    command_line.run_main(main)
