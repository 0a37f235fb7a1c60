"""Images per second of the training input, of the train step, and of both together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf

from pipeline.data.batches.distributed_batches import (
    check_divisible,
    check_split_size,
    distributed_train_batches,
    training_order,
)
from pipeline.data.batches.mixing_draw import with_mixing
from pipeline.data.batches.train_batches import batch_specs
from pipeline.data.dataset.prepare_source import prepare_source
from pipeline.data.dataset.source import open_source
from pipeline.data.dataset.split import Split
from pipeline.devices import strategy as strategies
from pipeline.speed.benchmark_config import TrainingBenchmarkConfig
from pipeline.speed.bottleneck import Bottleneck, Machine, find_bottleneck
from pipeline.training.loop.compute_meter import training_flops
from pipeline.training.model.build_model import build_model
from pipeline.training.objectives.objective import label_spec
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import TrainStep, make_train_step

WARM_UP_BATCHES = 2


@dataclass(frozen=True)
class Speed:
    """One measurement.

    Attributes:
        images_per_second: over the whole measurement.
        batch_milliseconds: mean time of a global batch.
        first_batch_seconds: until the first batch was done: filling of buffers, tracing, compiling.
    """

    images_per_second: float
    batch_milliseconds: float
    first_batch_seconds: float


@dataclass(frozen=True)
class TrainingReport:
    """What was measured; None: was not asked for."""

    machine: Machine
    training_gflops_per_image: float | None
    """Of forward and backward pass, as `vit_keras.flops` counts them."""
    input: Speed | None
    step: Speed | None
    both: Speed | None
    bottleneck: Bottleneck | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_training(config: TrainingBenchmarkConfig, what: str) -> TrainingReport:
    """Measure `what`: "input", "step", or "both" (each alone, then together).

    Raises:
        UserError: bad input.
    """
    strategy = strategies.make_strategy(config)
    split, num_classes = open_train_split(config)
    machine = _machine(config, strategy)
    input_speed = step_speed = both_speed = gflops = None

    def real_batches() -> Iterator[Any]:
        assert split is not None  # without a dataset there is `step` alone
        mixes = config.data.mixes_images
        check_divisible(config, machine.replicas, mixes_images=mixes)
        check_split_size(config, split)
        order = training_order(config, config.data, split, config.seed)
        return iter(distributed_train_batches(strategy, order, split, config.data, start_step=0))

    if what in ("input", "both"):
        input_speed = _measure(config, real_batches(), lambda batch: batch)
    if what in ("step", "both"):
        train_step, gflops = _make_step(config, strategy, num_classes)
        step_speed = _measure(config, _synthetic(config, strategy, num_classes), train_step)
    if what == "both":
        both_speed = _measure(config, real_batches(), train_step)
    bottleneck = None
    if input_speed and step_speed and both_speed:
        bottleneck = find_bottleneck(
            input_speed.images_per_second,
            step_speed.images_per_second,
            both_speed.images_per_second,
            machine,
            config,
        )
    return TrainingReport(machine, gflops, input_speed, step_speed, both_speed, bottleneck)


def open_train_split(config: TrainingBenchmarkConfig) -> tuple[Split | None, int]:
    """The split that the job trains on and its number of classes; without a dataset that alone.

    Raises:
        UserError: there is no such dataset.
    """
    if config.num_classes is not None:
        return None, config.num_classes
    data = config.data
    prepare_source(data.source, data.prepare)
    source = open_source(
        data.source,
        data.data_dir,
        image_key=data.image_key,
        label_key=data.label_key,
        multi_label=config.multi_label,
    )
    return source.split(data.train_split), source.num_classes


def _machine(config: TrainingBenchmarkConfig, strategy: tf.distribute.Strategy) -> Machine:
    device = strategies.device_type(strategy)
    return Machine(
        device=device,
        devices=len(tf.config.list_logical_devices(device)),
        replicas=strategy.num_replicas_in_sync,
        cores=len(os.sched_getaffinity(0)),
        xla=strategies.use_xla(config.jit_compile, strategy) or device == "TPU",
        precision=strategies.compute_policy(config.precision, strategy),
    )


def _make_step(
    config: TrainingBenchmarkConfig, strategy: tf.distribute.Strategy, num_classes: int
) -> tuple[Callable[[tuple[Any, ...]], Any], float]:
    """The run's own train step, and its GFLOPs for an image."""
    check_divisible(config, strategy.num_replicas_in_sync, mixes_images=config.data.mixes_images)
    with strategy.scope():
        policy = strategies.compute_policy(config.precision, strategy)
        model = build_model(
            config.model,
            config.data.height_width,
            num_classes,
            seed=config.seed,
            policy=policy,
        )
        state = TrainState(model, config.optim, seed=config.seed, ema_decay=config.ema_decay)
    train_step: TrainStep = make_train_step(
        strategy,
        state,
        config,
        total_steps=config.steps or 1_000_000,  # how long the schedule is costs nothing
        jit_compile=strategies.use_xla(config.jit_compile, strategy),
    )
    return lambda batch: train_step(*batch), training_flops(model, config.patch_sizes) / 1e9


def _synthetic(
    config: TrainingBenchmarkConfig, strategy: tf.distribute.Strategy, num_classes: int
) -> Iterator[Any]:
    """The same random batch again and again, kept on the devices."""

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        size = context.get_per_replica_batch_size(config.batch_size)
        spec = label_spec(config, size, num_classes)
        pixels, *_ = batch_specs(config.data, size, spec)
        images = tf.random.stateless_uniform(pixels.shape, [0, 1], -1, 1)
        if pixels.dtype == tf.uint8:
            images = tf.cast((images + 1) * 127.5, tf.uint8)
        below = 2 if spec.dtype == tf.bool else num_classes
        labels = tf.random.stateless_uniform(spec.shape, [0, 2], 0, below, tf.int64)
        labels = tf.cast(labels, spec.dtype)
        batches = tf.data.Dataset.from_tensors((images, labels, tf.range(size))).repeat()
        return with_mixing(batches, config.data, seed=config.seed, first_step=0, replicas=1)

    batch = next(iter(strategy.distribute_datasets_from_function(of_host)))
    while True:
        yield batch


def _measure(
    config: TrainingBenchmarkConfig, batches: Iterator[Any], run: Callable[[tuple[Any, ...]], Any]
) -> Speed:
    """Run batches for `config.seconds`, with one in flight while the next is dispatched."""
    started = time.perf_counter()
    for index in range(WARM_UP_BATCHES):
        _wait(run(next(batches)))
        if index == 0:
            first_batch_seconds = time.perf_counter() - started
    started = time.perf_counter()
    count, in_flight, elapsed = 0, None, 0.0
    while elapsed < config.seconds:
        result = run(next(batches))
        if in_flight is not None:
            _wait(in_flight)
        in_flight = result
        count += 1
        elapsed = time.perf_counter() - started
    _wait(in_flight)
    elapsed = time.perf_counter() - started
    return Speed(count * config.batch_size / elapsed, 1000 * elapsed / count, first_batch_seconds)


def _wait(result: Any) -> None:
    """Return when the devices have computed `result`, metrics of a step; a batch is there."""
    if isinstance(result, dict):
        result["loss"].numpy()
