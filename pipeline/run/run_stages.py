"""The stages of one run from its configuration: train, export, evaluate the transfer."""

from __future__ import annotations

import contextlib

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
    """Run every stage that is not finished yet; returns the exit status.

    Returns:
        0 when all is done; 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP while training
        and evaluating, with a checkpoint saved. Of several workers, all return the same, at the
        same time.

    Raises:
        UserError: bad input; as its subclasses, what ended the run.
    """
    workdir = Workdir(config.workdir)
    # First the strategy: with several workers TensorFlow takes SIGTERM for itself when it starts.
    strategy = strategies.make_strategy(config)
    chief = strategies.is_chief(strategy)
    lock = workdir.lock() if chief else contextlib.nullcontext()
    with lock:
        if chief and (left := workdir.remove_leftovers()):
            print(f"removed what a killed run left unfinished: {', '.join(left)}", flush=True)
        with StopSignal() as stop, explain_lost_worker(strategy):
            status = train(config, workdir, strategy, stop)
        if status == 0 and chief:
            _export_and_evaluate(config, workdir)
    evaluates = config.export and config.transfer is not None
    end_together(strategy, TRANSFER_SECONDS if evaluates else EXPORT_SECONDS)
    return status


def _export_and_evaluate(config: PretrainConfig, workdir: Workdir) -> None:
    if not config.export:
        return
    export_run(ExportConfig(workdir.path, workdir.export))
    print(f"export    {workdir.export}", flush=True)
    if config.transfer is None:
        return
    job = config.transfer
    prepare_source(job.source, job.prepare)
    data = TransferData(job.source, train_split=job.train_split, test_split=job.test_split)
    run_transfer(TransferConfig(model=workdir.export, data=data, output=workdir.transfer))
