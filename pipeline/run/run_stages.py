"""The stages of one run from its configuration: train, export, evaluate the transfer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import tensorflow as tf

from pipeline.data.dataset.prepare_source import prepare_source
from pipeline.devices import strategy as strategies
from pipeline.devices.other_workers import end_together, explain_lost_worker
from pipeline.evaluation.tasks.task_config import TransferData
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer
from pipeline.process.stop_signal import StopSignal
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.export_stage import export_run
from pipeline.run.train_stage import train
from pipeline.serving.export_config import ExportConfig
from pipeline.workdir.workdir import Workdir

EXPORT_SECONDS = 3_600.0
TRANSFER_SECONDS = 8 * 3_600.0
"""That the other workers wait at the end, while the first one exports and evaluates."""


def run(config: PretrainConfig) -> int:
    """Run every stage that is not finished yet; returns the exit status of `train_each`."""
    evaluates = config.export and config.transfer is not None
    seconds = TRANSFER_SECONDS if evaluates else EXPORT_SECONDS
    # First the strategy: with several workers TensorFlow takes SIGTERM for itself when it starts.
    strategy = strategies.make_strategy(config)
    return train_each(strategy, [config], lambda: _export_and_evaluate(config), seconds)


def train_each(
    strategy: tf.distribute.Strategy,
    configs: Sequence[PretrainConfig],
    finish: Callable[[], None],
    finish_seconds: float,
) -> int:
    """Train one run after the other, then finish on the chief; returns the exit status.

    Args:
        strategy: of the first thing that was done: before TensorFlow has made a tensor.
        configs: runs on the same devices, each with a workdir of its own.
        finish: called while the workdirs are held.
        finish_seconds: that the other workers wait for it.

    Returns:
        0 when all is done; 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP while training
        and evaluating, with a checkpoint saved. Of several workers, all return the same, at the
        same time.

    Raises:
        UserError: bad input; as its subclasses, what ended the run.
    """
    chief = strategies.is_chief(strategy)
    status = 0
    with contextlib.ExitStack() as held:
        for config in configs:
            workdir = Workdir(config.workdir)
            if chief:
                held.enter_context(workdir.lock())
                if left := workdir.remove_leftovers():
                    print(f"removed what a killed run left unfinished: {', '.join(left)}")
            with StopSignal() as stop, explain_lost_worker(strategy):
                status = train(config, workdir, strategy, stop)
            if status:
                break
        if status == 0 and chief:
            finish()
    end_together(strategy, finish_seconds)
    return status


def _export_and_evaluate(config: PretrainConfig) -> None:
    workdir = Workdir(config.workdir)
    if not config.export:
        return
    export_run(ExportConfig(workdir.path, workdir.export))
    print(f"export    {workdir.export}", flush=True)
    if config.transfer is None:
        return
    job = config.transfer
    data = TransferData(job.source, train_split=job.train_split, test_split=job.test_split)
    if job.source is not None:
        prepare_source(job.source, job.prepare)
    else:
        ours = config.data
        data = replace(
            data,
            source=ours.source,
            data_dir=ours.data_dir,
            image_key=ours.image_key,
            label_key=ours.label_key,
        )
    run_transfer(TransferConfig(model=workdir.export, data=data, output=workdir.transfer))
