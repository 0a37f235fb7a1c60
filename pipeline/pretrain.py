"""Pre-train a Vision Transformer: `python -m pipeline.pretrain --help`.

Every stage goes on where an earlier, stopped run of the same command was: the dataset, the
training, the export, the transfer evaluation.
"""

from __future__ import annotations

from pipeline import cli
from pipeline.check_config import check_config
from pipeline.config import PretrainConfig
from pipeline.prepare import prepare_source
from pipeline.tensorflow_startup import import_tensorflow
from pipeline.training.cluster import cluster_of

PROG = "python -m pipeline.pretrain"
DEFAULT_CONFIG = "configs/quickstart.yaml"


def main() -> int:
    """Run the command; returns the exit status."""
    config = cli.parse(PretrainConfig, prog=PROG, default_config=DEFAULT_CONFIG)
    check_config(config)
    cluster = cluster_of(config)
    workers = len(cluster.workers) if cluster else 1
    prepare_source(config.data.source, config.data.prepare, workers)
    import_tensorflow()
    from pipeline.training.run import run

    return run(config)


if __name__ == "__main__":
    cli.run_main(main)
