"""Training batches: encoded bytes in training order, decoded, augmented and batched."""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.batches.eval_batches import no_autoshard
from pipeline.data.batches.seeds import derived_seed
from pipeline.data.batches.service import served_batches
from pipeline.data.batches.train_order import EpochOrder
from pipeline.data.data_config import DataConfig, ViewConfig
from pipeline.data.dataset.split import Split
from pipeline.data.images import augment
from pipeline.data.images.keras_cv_augment import keras_cv_rand_augment
from pipeline.data.images.preprocess import to_model_range
from pipeline.data.images.rand_augment import rand_augment


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

    Every view is a function of (seed, epoch, record), so that a run that resumes, or that spreads
    over other hosts, sees the same images.

    Yields:
        `(images, labels, seeds)`: float32 `[replica_batch_size, height, width, 3]` in [-1, 1];
        int64 and int32 `[replica_batch_size]`. The seeds are for what the model draws at random
        for each image.
    """

    def view(
        serialized: tf.Tensor, epoch: tf.Tensor, record: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        encoded, label = split.parse(serialized)
        label = split.check_label(label, serialized, record)
        seed = derived_seed(order.seed, epoch, record)
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
    return endless.with_options(no_autoshard()).prefetch(tf.data.AUTOTUNE)


def training_view(
    encoded: tf.Tensor,
    config: ViewConfig,
    crop_seed: tf.Tensor,
    flip_seed: tf.Tensor,
    augment_seed: tf.Tensor,
) -> tf.Tensor:
    """One view of an encoded image: float32 `[height, width, 3]` in [-1, 1]."""
    size = config.height_width
    if config.crop == "inception":
        image = augment.inception_crop(encoded, size, config.min_crop_area, crop_seed)
    else:
        image = augment.whole_image(encoded, size)
    if config.flip:
        image = augment.random_flip(image, flip_seed)
    chosen = config.augmentation
    if chosen.randaugment_layers and config.randaugment_policy == "keras_cv":
        image = keras_cv_rand_augment(
            image, augment_seed, chosen.randaugment_layers, chosen.randaugment_magnitude
        )
    elif chosen.randaugment_layers:
        image = tf.cast(tf.round(image), tf.uint8)
        image = rand_augment(
            image, augment_seed, chosen.randaugment_layers, chosen.randaugment_magnitude
        )
    return to_model_range(image)
