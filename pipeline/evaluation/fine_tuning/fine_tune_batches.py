"""Training batches for fine-tuning; evaluation takes the same path as every other."""

from __future__ import annotations

import tensorflow as tf

from pipeline.data.batches.eval_batches import no_autoshard
from pipeline.data.batches.seeds import derived_seed
from pipeline.data.batches.train_order import EpochOrder
from pipeline.data.dataset.split import Split
from pipeline.data.images import augment
from pipeline.data.images.preprocess import to_model_range
from pipeline.evaluation.fine_tuning.fine_tune_recipe import Recipe

MIN_CROP_AREA = 0.05
SHUFFLE_WINDOW = 8192


def fine_tune_batches(
    split: Split, recipe: Recipe, *, flip: bool, seed: int, replica_batch_size: int
) -> tf.data.Dataset:
    """Endless training batches, each for one replica; everything random follows from `seed`.

    Yields:
        `(images, labels, seeds)`: float32 `[replica_batch_size, height, width, 3]` in [-1, 1],
        and int64 and int32 `[replica_batch_size]`. The seeds are for what the model draws at random
        for each image.
    """
    order = EpochOrder(split.files, recipe.batch_size, SHUFFLE_WINDOW, seed)

    def view(
        serialized: tf.Tensor, epoch: tf.Tensor, record: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        encoded, label = split.parse(serialized)
        own = derived_seed(seed, epoch, record)
        crop_seed, flip_seed, model_seed = tf.unstack(
            tf.random.experimental.stateless_split(own, 3)
        )
        image = training_image(encoded, recipe, crop_seed)
        if flip:
            image = augment.random_flip(image, flip_seed)
        return to_model_range(image), label, tf.cast(model_seed[0], tf.int32)

    views = order.dataset(0).map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = views.batch(replica_batch_size, drop_remainder=True)
    return batches.with_options(no_autoshard()).prefetch(tf.data.AUTOTUNE)


def training_image(encoded: tf.Tensor, recipe: Recipe, seed: tf.Tensor) -> tf.Tensor:
    """One crop of an encoded image: float32 `[height, width, 3]` in [0, 255]."""
    if recipe.resize_size is None:
        return augment.inception_crop(encoded, recipe.crop_size, MIN_CROP_AREA, seed)
    resized = augment.whole_image(encoded, recipe.resize_size)
    if recipe.resize_size == recipe.crop_size:
        return resized
    return tf.image.stateless_random_crop(resized, [*recipe.crop_size, 3], seed)
