"""Training and evaluation batches, dealt to the replicas of a strategy."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.data.eval_batches import eval_batches
from pipeline.data.preprocess import EvalPreprocess
from pipeline.data.source import Split
from pipeline.data.train_batches import train_batches
from pipeline.data.train_order import EpochOrder
from groundwork.errors import UserError


def check_batch_sizes(config: PretrainConfig, split: Split, replicas: int) -> None:
    """Raise a UserError where a global batch cannot be divided, or is larger than the split."""
    check_divisible(config, replicas)
    check_split_size(config, split)


def check_split_size(config: PretrainConfig, split: Split) -> None:
    """Raise a UserError where a global batch is larger than the split."""
    if split.num_examples < config.batch_size:
        raise UserError(
            f"batch_size {config.batch_size} is larger than the {split.num_examples} images of "
            f"split {split.name}: choose a smaller one"
        )


def check_divisible(config: PretrainConfig, replicas: int) -> None:
    """Raise a UserError where a global batch cannot be divided among replicas and microbatches."""
    parts = replicas * config.accumulate
    if config.batch_size % parts:
        raise UserError(
            f"batch_size {config.batch_size} is not divisible by {replicas} replicas × accumulate "
            f"{config.accumulate}: choose a multiple of {parts}, such as "
            f"{max(1, config.batch_size // parts) * parts}"
        )
    if config.eval_batch_size and config.eval_batch_size % replicas:
        raise UserError(
            f"eval_batch_size {config.eval_batch_size} is not divisible by {replicas} replicas: "
            f"choose a multiple of {replicas}"
        )
    if config.data.mixes_images and config.batch_size // parts % 2:
        raise UserError(
            f"MixUp and CutMix mix pairs: batch_size {config.batch_size} gives {replicas} replicas "
            f"× accumulate {config.accumulate} an odd number each: choose a multiple of {2 * parts}"
        )


def training_order(config: PretrainConfig, split: Split) -> EpochOrder:
    """The order in which the run reads `split`."""
    return EpochOrder(split.files, config.batch_size, config.data.shuffle_window, config.seed)


def distributed_train_batches(
    strategy: tf.distribute.Strategy, config: PretrainConfig, split: Split, start_step: int
) -> Iterable:
    """Endless global batches `(images, labels, seeds)` from `start_step` on."""

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return train_batches(
            training_order(config, split),
            split,
            config.data,
            start_step=start_step,
            replica_batch_size=context.get_per_replica_batch_size(config.batch_size),
            host=context.input_pipeline_id,
            num_hosts=context.num_input_pipelines,
        )

    try:
        return strategy.distribute_datasets_from_function(of_host)
    except ValueError as error:
        raise UserError(str(error)) from error


def distributed_eval_batches(
    strategy: tf.distribute.Strategy, config: PretrainConfig, split: Split
) -> Iterable:
    """One pass over `split` as global batches `(images, labels, mask)`."""
    global_batch = config.eval_batch_size or config.batch_size
    preprocess = EvalPreprocess(config.data.height_width, config.data.eval_resize)

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replica_batch = context.get_per_replica_batch_size(global_batch)
        batches = eval_batches(
            split,
            preprocess,
            global_batch // context.num_input_pipelines,
            num_hosts=context.num_input_pipelines,
            host=context.input_pipeline_id,
        )
        # Every replica of a host gets a batch, if only of padding, in every round.
        return batches.rebatch(replica_batch, drop_remainder=True)

    return strategy.distribute_datasets_from_function(of_host)
