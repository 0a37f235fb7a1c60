"""Measure transfer against compute: `python -m pipeline.compute_study --help`.

A study that was stopped goes on where it was; members that are added to its file are added to it.
"""

from __future__ import annotations

from pipeline import cli
from pipeline.study.check_config import check_study_config
from pipeline.study.config import StudyConfig
from pipeline.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.compute_study"


def main() -> int:
    """Run the command; returns the exit status."""
    config = cli.parse(StudyConfig, prog=PROG)
    check_study_config(config)
    import_tensorflow()
    if config.plan:
        from pipeline.study.plan import plan_table

        print(plan_table(config))
        return 0
    import tensorflow as tf

    from pipeline.study.run import run_study

    tf.config.set_visible_devices([], "GPU")  # they are for the commands that the study runs
    return run_study(config)


if __name__ == "__main__":
    cli.run_main(main)
