"""Measure transfer against compute: `python -m pipeline.compute_study --help`.

A study that was stopped goes on where it was; members that are added to its file are added to it.
"""

from __future__ import annotations

from groundwork import command_line
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.study.check_study_config import check_study_config
from pipeline.study.study_config import StudyConfig

PROG = "python -m pipeline.compute_study"


def main() -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(StudyConfig, prog=PROG)
    check_study_config(config)
    import_tensorflow()
    if config.plan:
        from pipeline.study.plan import plan_table

        print(plan_table(config))
        return 0
    import tensorflow as tf

    from pipeline.study.run_study import run_study

    tf.config.set_visible_devices([], "GPU")  # they are for the commands that the study runs
    return run_study(config)


if __name__ == "__main__":
    command_line.run_main(main)
