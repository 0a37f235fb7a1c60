"""One run from a configuration: train, export, evaluate the transfer."""

from __future__ import annotations

import contextlib

import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.data.class_counts import balancing_weights, cached_class_counts
from pipeline.data.source import Source, Split, open_source
from pipeline.disk_full import explain_full_disk
from groundwork.errors import UserError
from pipeline.evaluation.config import TransferConfig, TransferData
from pipeline.evaluation.run import run_transfer
from pipeline.export import ExportConfig, export_run
from pipeline.preflight.check import raise_first_error
from pipeline.preflight.preflight import check_start
from pipeline.prepare import prepare_source
from pipeline.training import strategy as strategies
from pipeline.training.accelerators import find_accelerators
from pipeline.training.best_checkpoint import BestCheckpoint
from pipeline.training.checkpoint import Checkpointer, start_state
from pipeline.training.compute_meter import ComputeMeter, training_flops
from pipeline.training.evaluate import make_evaluate
from pipeline.training.inputs import (
    check_batch_sizes,
    distributed_eval_batches,
    distributed_train_batches,
    training_order,
)
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.objectives import build_objective_model
from pipeline.training.other_workers import end_together, explain_lost_worker
from pipeline.training.profile_window import ProfileWindow
from pipeline.training.run_record import run_record
from pipeline.training.stop_signal import StopSignal
from pipeline.training.train_loop import TrainLoop
from pipeline.training.train_state import TrainState
from pipeline.training.train_step import make_train_step
from pipeline.workdir import Workdir


def run(config: PretrainConfig) -> int:
    """Run every stage that is not finished yet; returns the exit status.

    Returns:
        0 when all is done; 130 after Ctrl-C and 143 after SIGTERM, with a checkpoint saved. Of
        several workers, all return the same, at the same time.

    Raises:
        UserError: bad input; as its subclasses, what ended the run.
    """
    workdir = Workdir(config.workdir)
    # First the strategy: with several workers TensorFlow takes SIGTERM for itself when it starts.
    strategy = strategies.make_strategy(config)
    chief = strategies.is_chief(strategy)
    lock = workdir.lock() if chief else contextlib.nullcontext()
    with StopSignal() as stop, lock, explain_lost_worker(strategy):
        status = _train(config, workdir, strategy, stop)
    if status == 0 and chief:
        _export_and_evaluate(config, workdir)
    end_together(strategy)
    return status


def _train(
    config: PretrainConfig, workdir: Workdir, strategy: tf.distribute.Strategy, stop: StopSignal
) -> int:
    data = config.data
    source = open_source(
        data.source, data.data_dir, image_key=data.image_key, label_key=data.label_key
    )
    train_split = source.split(data.train_split)
    eval_split = source.split(data.eval_split) if data.eval_split else None
    check_batch_sizes(config, train_split, strategy.num_replicas_in_sync)
    total_steps = _total_steps(config, train_split)
    window = config.log.profile_steps
    if window and window[1] > total_steps:
        raise UserError(
            f"log.profile_steps ends with step {window[1]}, the run with step {total_steps}: "
            f"choose earlier ones"
        )
    chief = strategies.is_chief(strategy)

    with strategy.scope():
        policy = strategies.compute_policy(config, strategy)
        model = build_objective_model(config, source.num_classes, policy)
        state = TrainState(
            model,
            config.optim,
            seed=config.seed,
            ema_decay=config.ema_decay,
            scale_loss=policy == "mixed_float16",
        )
    replicas = strategy.num_replicas_in_sync
    checks = check_start(config, source, state, replicas=replicas, policy=policy)
    raise_first_error(checks)
    checkpointer = Checkpointer(state, workdir.checkpoints, config.checkpoint.keep, write=chief)
    keep_best = config.checkpoint.keep_best
    best = BestCheckpoint(state, workdir.best_checkpoint, keep_best, chief) if keep_best else None
    start = start_state(state, checkpointer, config.resume, config.init_from)
    if chief:
        _announce(config, workdir, strategy, source, train_split, total_steps, policy, start)
        for check in checks:
            if check.status == "warning":
                print(f"warning   {check.name}: {check.found}; {check.remedy}")
        with explain_full_disk("the configuration", workdir.path):
            changes = workdir.archive(config, source.class_names)
        for line in changes:
            print(f"changed since the workdir was begun: {line.strip()}")

    evaluate = None
    if eval_split:
        evaluate_batches = make_evaluate(
            strategy, state, config, eval_split.num_examples, confusions=config.log.pictures
        )
        eval_input = distributed_eval_batches(strategy, config, eval_split)
        evaluate = lambda: evaluate_batches(eval_input)  # noqa: E731
    start_step = int(state.step.numpy())
    log = MetricsLog(workdir.tensorboard, workdir.metrics, start_step, write=chief)
    log.hyperparameters(config)
    accelerators = find_accelerators(strategy, config.log.peak_tflops)
    if chief and start_step < total_steps:
        workdir.record_start(
            run_record(
                config,
                source,
                train_split,
                eval_split,
                model,
                accelerators,
                precision=policy,
                start_step=start_step,
            )
        )
    loop = TrainLoop(
        config=config,
        strategy=strategy,
        state=state,
        train_step=make_train_step(
            strategy,
            state,
            config,
            total_steps=total_steps,
            jit_compile=strategies.use_xla(config, strategy),
            class_weights=_class_weights(config, workdir, source, train_split, chief),
        ),
        batches=distributed_train_batches(strategy, config, train_split, start_step),
        evaluate=evaluate,
        checkpointer=checkpointer,
        best=best,
        log=log,
        compute=ComputeMeter(accelerators, training_flops(model), log.device_hours),
        class_names=source.class_names,
        profile=ProfileWindow(*window, workdir.tensorboard) if window and chief else None,
        total_steps=total_steps,
    )
    with contextlib.closing(log):
        finished = loop.run(stop)
    if finished:
        return 0
    print(
        f"stopped at step {int(state.step.numpy())}; the same command goes on from there",
        flush=True,
    )
    return stop.exit_status


def _export_and_evaluate(config: PretrainConfig, workdir: Workdir) -> None:
    if not config.export:
        return
    with explain_full_disk("the export", workdir.export):
        export_run(ExportConfig(workdir.path, workdir.export))
    print(f"export    {workdir.export}", flush=True)
    if config.transfer is None:
        return
    job = config.transfer
    prepare_source(job.source, job.prepare)
    data = TransferData(job.source, train_split=job.train_split, test_split=job.test_split)
    run_transfer(TransferConfig(model=workdir.export, data=data, output=workdir.transfer))


def _class_weights(
    config: PretrainConfig, workdir: Workdir, source: Source, split: Split, chief: bool
) -> list[float] | None:
    if config.class_weights == "none":
        return None
    counts = cached_class_counts(split, source.num_classes, workdir.class_counts, write=chief)
    return balancing_weights(counts)


def _total_steps(config: PretrainConfig, split: Split) -> int:
    if config.epochs is None:
        assert config.steps is not None  # check_config
        return config.steps
    return max(1, round(config.epochs * training_order(config, split).steps_per_epoch))


def _announce(
    config: PretrainConfig,
    workdir: Workdir,
    strategy: tf.distribute.Strategy,
    source: Source,
    split: Split,
    total_steps: int,
    policy: str,
    start: str,
) -> None:
    replicas = strategy.num_replicas_in_sync
    print(
        f"data      {config.data.source}: {split.num_examples} images of {split.name}, "
        f"{source.num_classes} classes\n"
        f"training  {total_steps} steps of {config.batch_size} images, {config.model.variant}, "
        f"{policy}, on {replicas} {strategies.device_type(strategy)} "
        f"replica{'s' * (replicas > 1)}, {start}\n"
        f"workdir   {workdir.path}  (curves: tensorboard --logdir {workdir.path})",
        flush=True,
    )
