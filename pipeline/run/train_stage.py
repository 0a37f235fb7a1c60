"""The training stage of a run: everything that the loop needs, made from the configuration."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import tensorflow as tf

from groundwork.errors import UserError
from pipeline.data.batches.distributed_batches import (
    check_divisible,
    check_split_size,
    distributed_train_batches,
    training_order,
)
from pipeline.data.dataset.class_counts import balancing_weights, cached_class_counts, named_weights
from pipeline.data.dataset.held_out import train_and_eval
from pipeline.data.dataset.source import Source, open_source
from pipeline.data.dataset.split import Split
from pipeline.devices import strategy as strategies
from pipeline.devices.accelerators import find_accelerators
from pipeline.devices.worker_agreement import check_workers_agree
from pipeline.devices.worker_times import WorkerTimes
from pipeline.named_models.evaluated_model import initial_weights, named_architecture
from pipeline.named_models.teacher import Teacher, open_teacher
from pipeline.process.check import raise_first_error
from pipeline.process.disk_full import explain_full_disk
from pipeline.process.stop_signal import StopSignal
from pipeline.process.watchdog import Watchdog
from pipeline.readiness.run_checks import check_start
from pipeline.recipe.compared_options import compared_options
from pipeline.recipe.hyperparameters import hyperparameters
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.evaluators import make_evaluators
from pipeline.training.loop.compute_meter import ComputeMeter, training_flops
from pipeline.training.loop.metrics_log import MetricsLog
from pipeline.training.loop.profile_window import ProfileWindow
from pipeline.training.loop.train_loop import TrainLoop
from pipeline.training.objectives.objective import build_objective_model
from pipeline.training.state.best_checkpoint import BestCheckpoint
from pipeline.training.state.checkpoint import Checkpointer, start_state
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import make_train_step
from pipeline.workdir.run_record import run_record
from pipeline.workdir.same_dataset import (
    check_same_classes,
    check_same_dataset,
    check_same_teacher,
)
from pipeline.workdir.workdir import Workdir


def train(
    config: PretrainConfig, workdir: Workdir, strategy: tf.distribute.Strategy, stop: StopSignal
) -> int:
    """Train from where the workdir is to the last step; returns the exit status.

    Returns:
        0 when the last step is done; after a signal its status, with a checkpoint saved.

    Raises:
        UserError: bad input; as its subclasses, what ended the training.
    """
    data = config.data
    # First the options: those of another model, and the workers would wait for ever.
    check_workers_agree(strategy, compared_options(config), "start all with the same options")
    source, train_split, eval_split = _open_data(config, workdir)
    replicas = strategy.num_replicas_in_sync
    check_divisible(config, replicas, mixes_images=data.mixes_images)
    check_split_size(config, train_split)
    order = training_order(config, data, train_split, config.seed)
    total_steps = config.planned_steps(order.num_records)
    window = _profile_steps(config, total_steps)
    chief = strategies.is_chief(strategy)
    jit_compile = strategies.use_xla(config.jit_compile, strategy)

    architecture = workdir.load_architecture() or named_architecture(
        config.model.variant, data.height_width, source.num_classes
    )
    with strategy.scope():
        policy = strategies.compute_policy(config.precision, strategy)
        model = build_objective_model(
            config,
            config.model,
            data.height_width,
            source.num_classes,
            seed=config.seed,
            policy=policy,
            architecture=architecture,
        )
        state = TrainState(
            model,
            config.optim,
            seed=config.seed,
            ema_decay=config.ema_decay,
            scale_loss=policy == "mixed_float16",
        )
        teacher = _open_teacher(config, workdir, source, policy)
    checks = check_start(config, source, state, replicas=replicas, policy=policy)
    raise_first_error(checks)
    checkpointer = Checkpointer(state, workdir.checkpoints, config.checkpoint.keep, write=chief)
    keep_best = config.checkpoint.keep_best
    best = BestCheckpoint(state, workdir.best_checkpoint, keep_best, chief) if keep_best else None
    load = partial(initial_weights, class_names=source.class_names)
    start = start_state(state, checkpointer, config.resume, config.init_from, load)
    check_workers_agree(
        strategy,
        {
            "step": int(state.step.numpy()),
            "weights": state.fingerprint(),
            "dataset": source.fingerprint,
            "train split": train_split.fingerprint,
            "eval split": eval_split.fingerprint if eval_split else "none",
            "teacher": teacher.fingerprint if teacher else "none",
        },
        f"all need the same dataset and one workdir that every worker sees ({config.workdir})",
    )
    if chief:
        _announce(config, workdir, strategy, source, train_split, total_steps, policy, start)
        for check in checks:
            if check.status == "warning":
                print(f"warning   {check.name}: {check.found}; {check.remedy}")
        _archive(
            config,
            workdir,
            source,
            architecture,
            nothing_left=int(state.step.numpy()) >= total_steps,
        )

    evaluators = make_evaluators(
        strategy, state, config, source, eval_split, jit_compile=jit_compile
    )
    start_step = int(state.step.numpy())
    log = MetricsLog(workdir.tensorboard, workdir.metrics, start_step, write=chief)
    log.hyperparameters(hyperparameters(config), config.workdir)
    accelerators = find_accelerators(strategy, config.log.peak_tflops)
    if chief and start_step < total_steps:
        with explain_full_disk("the record of the run", workdir.starts):
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
                    total_steps=total_steps,
                    teacher=teacher.fingerprint if teacher else None,
                )
            )
    watchdog = Watchdog(config.stall_timeout, f"worker {strategies.worker_index(strategy)}")
    loop = TrainLoop(
        options=config,
        batch_size=config.batch_size,
        input_remedy=_input_remedy(config),
        strategy=strategy,
        state=state,
        train_step=make_train_step(
            strategy,
            state,
            config,
            total_steps=total_steps,
            jit_compile=jit_compile,
            class_weights=_class_weights(config, workdir, source, train_split, chief),
            teacher=teacher and teacher.model,
        ),
        batches=distributed_train_batches(strategy, order, train_split, data, start_step),
        evaluators=evaluators,
        checkpointer=checkpointer,
        best=best,
        watchdog=watchdog,
        worker_times=WorkerTimes(strategy),
        log=log,
        compute=ComputeMeter(
            accelerators,
            training_flops(model, config.patch_sizes),
            log.device_hours,
            log.useful_hours,
        ),
        class_names=source.class_names,
        profile=ProfileWindow(*window, workdir.tensorboard) if window and chief else None,
        total_steps=total_steps,
    )
    with contextlib.closing(log), watchdog:
        finished = loop.run(stop)
    # A signal of the last moments, too, is heard: all workers end here together.
    if finished and not stop.agreed(strategy, sys.maxsize):
        return 0
    print(
        f"stopped at step {int(state.step.numpy())}; the same command goes on from there",
        flush=True,
    )
    return stop.exit_status


def _open_data(config: PretrainConfig, workdir: Workdir) -> tuple[Source, Split, Split | None]:
    """The dataset, if it is the one that the run was begun with, and its two splits."""
    data = config.data
    source = open_source(
        data.source,
        data.data_dir,
        image_key=data.image_key,
        label_key=data.label_key,
        multi_label=config.multi_label,
    )
    check_same_dataset(workdir, source)
    if config.resume:
        check_same_classes(Workdir(config.resume), source)
    if isinstance(config.class_weights, dict):
        named_weights(config.class_weights, source.class_names)  # before anything is made
    train_split, eval_split = train_and_eval(
        source, data.train_split, data.eval_split, data.held_out
    )
    if not config.reads_labels:  # no label is read: there need not be any
        train_split = replace(train_split, labels_below=None)
        eval_split = eval_split and replace(eval_split, labels_below=None)
    return source, train_split, eval_split


def _open_teacher(
    config: PretrainConfig, workdir: Workdir, source: Source, policy: str
) -> Teacher | None:
    """The teacher, if the run has one, and if it is the one that it was begun with."""
    if config.distillation is None:
        return None
    teacher = open_teacher(config.distillation.teacher, source.class_names, policy)
    check_same_teacher(workdir, teacher.fingerprint)
    return teacher


def _archive(
    config: PretrainConfig,
    workdir: Workdir,
    source: Source,
    architecture: dict[str, Any] | None,
    *,
    nothing_left: bool,
) -> None:
    """Keep the options of what is trained; those of a start that trains nothing are not its."""
    changes = workdir.changes(config)
    if nothing_left and workdir.has_class_names():
        if changes:
            print(
                "all steps are done: config.yaml keeps the options that they were done with, and "
                f"these are not taken: {'; '.join(changes)}"
            )
        return
    with explain_full_disk("the configuration", workdir.path):
        workdir.archive(config, source.class_names, architecture)
    for line in changes:
        print(f"changed since the workdir was begun: {line}")


def _class_weights(
    config: PretrainConfig, workdir: Workdir, source: Source, split: Split, chief: bool
) -> list[float] | None:
    if config.class_weights == "none":
        return None
    if isinstance(config.class_weights, dict):
        return named_weights(config.class_weights, source.class_names)
    counts = cached_class_counts(split, source.num_classes, workdir.class_counts, write=chief)
    return balancing_weights(counts)


def _profile_steps(config: PretrainConfig, total_steps: int) -> tuple[int, int] | None:
    window = config.log.profile_steps
    if window and window[1] > total_steps:
        raise UserError(
            f"log.profile_steps ends with step {window[1]}, the run with step {total_steps}: "
            f"choose earlier ones"
        )
    return window


def _input_remedy(config: PretrainConfig) -> str:
    """What to do where a training batch cannot be read."""
    if config.data.service:
        return "start the workers of data.service that are gone, then this run again"
    return f"try python -m beam_jobs.verify_dataset --input {config.data.source}"


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
