"""Training batches: encoded bytes in training order, decoded, augmented and batched."""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.batches.eval_batches import no_autoshard
from pipeline.data.batches.mixing_draw import Mixing, with_mixing
from pipeline.data.batches.seeds import derived_seed
from pipeline.data.batches.service import served_batches
from pipeline.data.batches.train_order import EpochOrder
from pipeline.data.data_config import DataConfig, ViewConfig
from pipeline.data.dataset.split import Split
from pipeline.data.images import augment
from pipeline.data.images.keras_cv_augment import keras_cv_rand_augment
from pipeline.data.images.preprocess import to_model_range
from pipeline.data.images.rand_augment import rand_augment
from pipeline.data.images.random_erasing import random_erasing
from pipeline.data.images.three_augment import color_jitter, three_augment


def train_batches(
    order: EpochOrder,
    split: Split,
    config: DataConfig,
    *,
    start_step: int,
    replica_batch_size: int,
    host: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """Endless batches of one host, each for one replica.

    Every view is a function of (seed, epoch, record, repeat), so that a run that resumes, or that
    spreads over other hosts, sees the same images.

    Yields:
        `(images, labels, seeds)` and, where images are mixed, the `Mixing` of the step: images
        `[replica_batch_size, height, width, 3]`, see `training_view`; int64 and int32
        `[replica_batch_size]`. The seeds are for what the model draws at random for each image.
    """

    def view(
        serialized: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        encoded, label = split.parse(serialized)
        label = split.check_label(label, serialized, number % order.num_records)
        seed = derived_seed(order.seed, epoch, number)
        crop_seed, flip_seed, model_seed, augment_seed = tf.unstack(
            tf.random.experimental.stateless_split(seed, 4)
        )
        image = training_view(encoded, config, crop_seed, flip_seed, augment_seed)
        return image, label, tf.cast(model_seed[0], tf.int32)

    records = order.dataset(start_step, host, num_hosts)
    if config.service:
        batches = served_batches(
            records,
            view,
            replica_batch_size,
            service=config.service,
            workers=config.service_workers,
        )
    else:
        views = records.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        batches = views.batch(replica_batch_size, drop_remainder=True)
    # Told to be endless, several workers need not agree in each step on whether there is more.
    endless = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    replicas = order.batch_size // num_hosts // replica_batch_size
    endless = with_mixing(
        endless, config, seed=order.seed, first_step=start_step, replicas=replicas
    )
    return endless.with_options(no_autoshard()).prefetch(tf.data.AUTOTUNE)


def training_view(
    encoded: tf.Tensor,
    config: ViewConfig,
    crop_seed: tf.Tensor,
    flip_seed: tf.Tensor,
    augment_seed: tf.Tensor,
) -> tf.Tensor:
    """One view of an encoded image, `[height, width, 3]`.

    uint8 where the augmentation ends in 8 bits (`config.ends_in_8_bits`): a quarter of the bytes go
    to the device, where the train step scales them. Otherwise float32 in [-1, 1], for a resized
    image rounded to 8 bits would be another one.
    """
    image = _crop(encoded, config, crop_seed)
    if config.flip:
        image = augment.random_flip(image, flip_seed)
    chosen = config.augmentation
    if chosen.randaugment_layers and config.randaugment_policy == "keras_cv":
        image = keras_cv_rand_augment(
            image, augment_seed, chosen.randaugment_layers, chosen.randaugment_magnitude
        )
    elif chosen.randaugment_layers:
        image = rand_augment(
            _in_8_bits(image),
            augment_seed,
            chosen.randaugment_layers,
            chosen.randaugment_magnitude,
        )
    if config.three_augment or config.color_jitter or config.random_erasing:
        seeds = tf.random.experimental.stateless_split(augment_seed, 3)
        image = _in_8_bits(image)
        if config.three_augment:
            image = three_augment(image, seeds[0])
        if config.color_jitter:
            image = color_jitter(image, seeds[1], config.color_jitter)
        if config.random_erasing:
            image = random_erasing(image, seeds[2], config.random_erasing)
    return image if config.ends_in_8_bits else to_model_range(image)


def batch_specs(
    view: ViewConfig, replica_batch_size: int, labels: tf.TensorSpec
) -> list[tf.TensorSpec]:
    """What `train_batches` yields, with those labels."""
    size = view.height_width
    pixels = tf.uint8 if view.ends_in_8_bits else tf.float32
    specs = [
        tf.TensorSpec([replica_batch_size, *size, 3], pixels),
        labels,
        tf.TensorSpec([replica_batch_size], tf.int32),
    ]
    if view.mixes_images:
        specs += Mixing(tf.TensorSpec([*size, 1], tf.float32), tf.TensorSpec([], tf.float32))
    return specs


def _crop(encoded: tf.Tensor, config: ViewConfig, seed: tf.Tensor) -> tf.Tensor:
    size, interpolation = config.height_width, config.interpolation
    if config.crop == "simple":
        return augment.simple_crop(encoded, size, seed, interpolation)
    if config.crop == "resize":
        return augment.whole_image(encoded, size, interpolation)
    crops = {"inception": augment.inception_crop, "torchvision": augment.torchvision_crop}
    return crops[config.crop](encoded, size, config.min_crop_area, seed, interpolation)


def _in_8_bits(image: tf.Tensor) -> tf.Tensor:
    """Pixels in [0, 255] as uint8."""
    return image if image.dtype == tf.uint8 else tf.cast(tf.round(image), tf.uint8)
