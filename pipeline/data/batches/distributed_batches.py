"""Training and evaluation batches, dealt to the replicas of a strategy."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from groundwork.errors import UserError
from pipeline.data.batches.batch_options import BatchOptions
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.batches.train_batches import train_batches
from pipeline.data.batches.train_order import EpochOrder
from pipeline.data.data_config import DataConfig, ViewConfig
from pipeline.data.dataset.split import Split
from pipeline.data.images.preprocess import EvalPreprocess

PREFETCHING = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    tf.distribute.TPUStrategy,
)
"""Strategies that copy batches to their devices ahead of time by themselves."""
BATCHES_AHEAD = 2


def check_split_size(batch: BatchOptions, split: Split) -> None:
    """Raise a UserError where a global batch is larger than the split."""
    if split.num_examples < batch.batch_size:
        raise UserError(
            f"batch_size {batch.batch_size} is larger than the {split.num_examples} images of "
            f"split {split.name}: choose a smaller one"
        )


def check_divisible(batch: BatchOptions, replicas: int, *, mixes_images: bool) -> None:
    """Raise a UserError where a global batch cannot be divided among replicas and microbatches.

    Where it `mixes_images`, each microbatch needs pairs of them.
    """
    parts = replicas * batch.accumulate
    if batch.batch_size % parts:
        raise UserError(
            f"batch_size {batch.batch_size} is not divisible by {replicas} replicas × accumulate "
            f"{batch.accumulate}: choose a multiple of {parts}, such as "
            f"{max(1, batch.batch_size // parts) * parts}"
        )
    if batch.eval_batch_size and batch.eval_batch_size % replicas:
        raise UserError(
            f"eval_batch_size {batch.eval_batch_size} is not divisible by {replicas} replicas: "
            f"choose a multiple of {replicas}"
        )
    if mixes_images and batch.batch_size // parts % 2:
        raise UserError(
            f"MixUp and CutMix mix pairs: batch_size {batch.batch_size} gives {replicas} replicas "
            f"× accumulate {batch.accumulate} an odd number each: choose a multiple of {2 * parts}"
        )


def training_order(batch: BatchOptions, data: DataConfig, split: Split, seed: int) -> EpochOrder:
    """The order in which a run reads `split`."""
    return EpochOrder(
        split.files, batch.batch_size, data.shuffle_window, seed, data.repeated_augmentation
    )


def distributed_train_batches(
    strategy: tf.distribute.Strategy,
    order: EpochOrder,
    split: Split,
    data: DataConfig,
    start_step: int,
) -> Iterable[tuple[tf.Tensor, ...]]:
    """Endless global batches as of `train_batches` from `start_step` on, in `order`."""

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = train_batches(
            order,
            split,
            data,
            start_step=start_step,
            replica_batch_size=context.get_per_replica_batch_size(order.batch_size),
            host=context.input_pipeline_id,
            num_hosts=context.num_input_pipelines,
        )
        return batches if isinstance(strategy, PREFETCHING) else ahead_on_device(batches)

    try:
        batches: Iterable[tuple[tf.Tensor, ...]]
        batches = strategy.distribute_datasets_from_function(of_host)
    except ValueError as error:
        raise UserError(str(error)) from error
    return batches


def ahead_on_device(batches: tf.data.Dataset) -> tf.data.Dataset:
    """`batches` copied to the GPU, where there is one, while the step before them runs."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, BATCHES_AHEAD))


def distributed_eval_batches(
    strategy: tf.distribute.Strategy, split: Split, view: ViewConfig, global_batch: int
) -> Iterable[tuple[tf.Tensor, ...]]:
    """One pass over `split` as global batches `(images, labels, mask)` of `global_batch` images."""
    preprocess = EvalPreprocess(view.height_width, view.eval_resize, view.interpolation)

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
        batches = batches.rebatch(replica_batch, drop_remainder=True)
        return batches if isinstance(strategy, PREFETCHING) else ahead_on_device(batches)

    batches: Iterable[tuple[tf.Tensor, ...]]
    batches = strategy.distribute_datasets_from_function(of_host)
    return batches
