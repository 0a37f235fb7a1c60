"""All checks: of a run that has not started, and as the first step of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras

from groundwork.errors import UserError
from pipeline.data.batches.distributed_batches import check_split_size, training_order
from pipeline.data.dataset.held_out import train_and_eval
from pipeline.data.dataset.source import Source, open_builder, open_source, test_split_name
from pipeline.data.dataset.split import Split
from pipeline.devices.machine import Machine, look_at_machine
from pipeline.devices.strategy import policy_on
from pipeline.devices.wheels import check_wheel, installed_wheels
from pipeline.named_models.evaluated_model import named_architecture
from pipeline.process.check import Check
from pipeline.readiness.dataset_sizes import CLASSES, DATASETS
from pipeline.readiness.device_checks import (
    check_batch,
    check_devices,
    check_precision,
    check_workers,
)
from pipeline.readiness.memory import (
    bytes_of,
    check_memory,
    checkpoint_bytes,
    compute_bytes,
    slot_bytes,
)
from pipeline.readiness.preflight_config import PreflightConfig
from pipeline.readiness.storage_checks import check_split, check_workdir, missing_dataset
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.objectives.objective import build_objective_model
from pipeline.training.state.train_state import TrainState


def preflight(config: PreflightConfig) -> list[Check]:
    """Check a run without starting it; no weight is allocated, and nothing written.

    Raises:
        UserError: a configuration that cannot be, whatever the machine.
    """
    machine = look_at_machine(config)
    driver = Path("/dev/nvidiactl").exists()
    checks = [
        check_wheel(installed_wheels(), machine.device, nvidia_driver=driver),
        check_devices(machine, config.tpu),
    ]
    if machine.cluster:
        checks.append(check_workers(machine.cluster))
    replicas = config.replicas or machine.replicas
    unknown = "the number of TPU devices is not known before the TPU is started"
    if replicas is None:
        checks.append(Check("batch", "not checked", unknown, "give --replicas"))
    else:
        checks.append(check_batch(config, config.data, replicas, machine.device))
    precision = check_precision(config.precision, machine.device)
    checks.append(precision)
    source, of_dataset = _look_at_dataset(config, machine)
    checks += of_dataset
    policy = (
        "float32" if precision.status == "error" else policy_on(machine.device, config.precision)
    )
    unknown_classes = DATASETS.get(config.data.source, (CLASSES,))[0]
    num_classes = source.num_classes if source else unknown_classes
    height_width = config.data.height_width
    architecture = named_architecture(config.model.variant, height_width, num_classes)
    with keras.StatelessScope(initialize_variables=False):
        model = build_objective_model(
            config,
            config.model,
            height_width,
            num_classes,
            seed=config.seed,
            policy=policy,
            architecture=architecture,
        )
    slots = slot_bytes(model, config.optim)
    checks.append(_check_workdir(model, config, slots))
    if replicas is None:
        checks.append(Check("memory", "not checked", unknown, "give --replicas"))
        return checks
    device_bytes = machine.device_bytes
    if config.device_memory is not None:
        device_bytes = int(config.device_memory * 1e9)
    checks.append(
        check_memory(
            model,
            config,
            slots=slots,
            replicas=replicas,
            compute_bytes=compute_bytes(policy),
            device=machine.device,
            device_bytes=device_bytes,
        )
    )
    return checks


def check_start(
    config: PretrainConfig, source: Source, state: TrainState, *, replicas: int, policy: str
) -> list[Check]:
    """The checks that a run makes before its first step, in a fraction of a second.

    Args:
        config: of the run.
        source: its dataset, as this host sees it.
        state: what it trains.
        replicas: of all workers.
        policy: Keras dtype policy of the model.
    """
    machine = look_at_machine(config)
    slots = bytes_of(state.optimizer)
    data = config.data
    splits = train_and_eval(source, data.train_split, data.eval_split, data.held_out)
    return [
        *(check_split(split) for split in splits if split),
        _check_workdir(state.model, config, slots),
        check_memory(
            state.model,
            config,
            slots=slots,
            replicas=replicas,
            compute_bytes=compute_bytes(policy),
            device=machine.device,
            device_bytes=machine.device_bytes,
        ),
    ]


def _look_at_dataset(config: PretrainConfig, machine: Machine) -> tuple[Source | None, list[Check]]:
    data = config.data
    try:
        source = open_source(
            data.source,
            data.data_dir,
            image_key=data.image_key,
            label_key=data.label_key,
            multi_label=config.multi_label,
            download=False,
        )
    except UserError as error:
        return None, [missing_dataset(error, data.prepare)]
    try:
        train_split, evaluation = train_and_eval(
            source, data.train_split, data.eval_split, data.held_out
        )
        splits = [train_split, *([evaluation] if evaluation else [])]
        check_split_size(config, train_split)
        splits += _eval_splits(config, source)
        workers = len(machine.cluster.workers) if machine.cluster else 1
        training_order(config, data, train_split, config.seed).check_hosts(workers)
    except (UserError, ValueError) as error:
        return source, [Check("dataset", "error", str(error))]
    return source, [check_split(split) for split in splits]


def _eval_splits(config: PretrainConfig, source: Source) -> list[Split]:
    """What the run's `evals` measure on; a UserError that names the one that is not there."""
    splits = []
    for options in config.evals:
        try:
            of = source
            if options.source is not None:  # its labels may be of any kind
                builder = open_builder(options.source, config.data.data_dir, download=False)
                of = replace(source, builder=builder, origin=options.source)
            splits.append(of.split(options.split or test_split_name(of)))
        except UserError as error:
            raise UserError(f"evals {options.name}: {error}") from error
    return splits


def _check_workdir(model: keras.Model, config: PretrainConfig, slots: int) -> Check:
    # A new checkpoint is written before the oldest is deleted.
    kept = config.checkpoint.keep + 1 + (config.checkpoint.keep_best is not None)
    return check_workdir(config.workdir, checkpoint_bytes(model, config, slots), kept)
