"""Training views: replay from the seed, formats, crops."""

from __future__ import annotations

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf
from dataset_folders import encode

from pipeline.data.batches.distributed_batches import (
    distributed_eval_batches,
    distributed_train_batches,
    training_order,
)
from pipeline.data.batches.mixing_draw import draw_mixing, with_mixing
from pipeline.data.batches.train_batches import batch_specs, train_batches
from pipeline.data.data_config import DataConfig
from pipeline.data.dataset.source import open_source
from pipeline.data.images.augment import inception_crop


def batches(config, start_step, count):
    split = open_source(config.data.source).split("train")
    order = training_order(config, config.data, split, config.seed)
    dataset = train_batches(
        order, split, config.data, start_step=start_step, replica_batch_size=config.batch_size
    )
    return list(dataset.take(count).as_numpy_iterator())


def test_batches_from_a_step_on_are_bitwise_those_of_an_uninterrupted_run(config):
    full = batches(config, 0, 9)
    for found, expected in zip(batches(config, 4, 5), full[4:], strict=True):
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_views_have_the_models_range_and_change_with_epoch_and_seed(config, change):
    images, labels, seeds = batches(config, 0, 1)[0]
    assert images.shape == (16, 16, 16, 3) and images.dtype == np.float32
    assert -1 <= images.min() < images.max() <= 1
    assert labels.dtype == np.int64 and set(labels) <= {0, 1, 2}
    assert seeds.dtype == np.int32 and len(set(seeds)) == 16
    assert not np.array_equal(images, batches(change(config, seed=1), 0, 1)[0][0])


@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("JPEG", {"quality": 95})])
def test_inception_crops_lie_inside_and_respect_the_smallest_area(file_format, options):
    """In an image whose color tells the place, the crop's corners tell its extent."""
    ramp = np.arange(256, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.zeros((256, 256), np.uint8)], -1)
    encoded = tf.constant(encode(pixels, file_format, **options))
    areas = []
    for index in range(40):
        crop = inception_crop(encoded, (32, 32), 0.3, tf.constant([7, index])).numpy()
        height = np.ptp(crop[:, :, 1]) / 255
        width = np.ptp(crop[:, :, 0]) / 255
        assert 0.6 < width / height < 1.6
        areas.append(height * width)
    assert 0.2 < min(areas) < 0.5 and max(areas) > 0.7


def test_jpeg_and_png_of_the_same_pixels_get_the_same_crop():
    pixels = np.kron(np.arange(64).reshape(8, 8, 1), np.ones((16, 16, 3))).astype(np.uint8) * 3
    seed = tf.constant([1, 2])
    png, jpeg = (
        inception_crop(tf.constant(encode(pixels, name, **options)), (24, 24), 0.2, seed)
        for name, options in (("PNG", {}), ("JPEG", {"quality": 100}))
    )
    assert np.abs(png - jpeg).mean() < 4


@pytest.mark.parametrize("value", range(1, 9))
def test_crops_are_upright_as_evaluation_sees_the_image(value):
    """Red grows to the right and green downwards, in whatever way the JPEG was stored."""
    ramp = np.arange(128, dtype=np.uint8) * 2
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.zeros((128, 128), np.uint8)], -1)
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = {6: 8, 8: 6}.get(value, value)
    turned = PIL.Image.fromarray(pixels)
    turned.getexif().update(exif)
    stored = np.asarray(PIL.ImageOps.exif_transpose(turned))
    exif[PIL.ExifTags.Base.Orientation] = value
    encoded = tf.constant(encode(stored, "JPEG", quality=95, exif=exif))
    crop = inception_crop(encoded, (16, 16), 0.5, tf.constant([3, value])).numpy()
    red, green = crop[..., 0].mean(axis=0), crop[..., 1].mean(axis=1)
    assert (np.diff(red) > 5).all() and (np.diff(green) > 5).all()


def test_flip_mirrors_about_half_of_the_images(config, change):
    still = change(config, data__crop="resize", data__flip=False)
    turned = change(still, data__flip=True)
    plain = np.concatenate([batch[0] for batch in batches(still, 0, 5)])
    flipped = np.concatenate([batch[0] for batch in batches(turned, 0, 5)])
    mirrored = [np.array_equal(b, a[:, ::-1]) for a, b in zip(plain, flipped, strict=True)]
    unchanged = [np.array_equal(b, a) for a, b in zip(plain, flipped, strict=True)]
    assert all(np.logical_or(mirrored, unchanged))
    assert 20 < sum(mirrored) < 60


def test_every_augmentation_replays_and_repeats_are_other_views(config, change):
    config = change(
        config,
        data__crop="torchvision",
        data__interpolation="bicubic",
        data__three_augment=True,
        data__color_jitter=0.3,
        data__random_erasing=0.5,
        data__repeated_augmentation=2,
    )
    full = batches(config, 0, 4)
    for found, expected in zip(batches(config, 2, 2), full[2:], strict=True):
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, other)
    images, labels, seeds = full[0]
    assert images.dtype == np.uint8 and images.min() < images.max()
    # Eight images, and again, moved by one.
    np.testing.assert_array_equal(labels[8:], np.roll(labels[:8], -1))
    assert len(set(seeds)) == 16 and len({image.tobytes() for image in images}) == 16
    plain = batches(change(config, data__three_augment=False), 0, 1)[0][0]
    assert not np.array_equal(plain, images)


def test_height_width_takes_one_number_or_two():
    assert DataConfig(source="x", image_size=8).height_width == (8, 8)
    assert DataConfig(source="x", image_size=(8, 16)).height_width == (8, 16)


@pytest.mark.parametrize(
    ("fields", "pixels"),
    [
        ({}, np.float32),
        ({"augment_preset": "medium2", "cutmix_alpha": 1.0}, np.uint8),
        ({"color_jitter": 0.3}, np.uint8),
    ],
)
def test_what_ends_in_8_bits_goes_to_the_device_as_such(config, change, fields, pixels):
    """With the mixing of its step, which needs no number from the device."""
    config = change(config, **{f"data__{name}": value for name, value in fields.items()})
    found = batches(config, 3, 2)
    specs = batch_specs(config.data, 16, tf.TensorSpec([16], tf.int64))
    for step, batch in enumerate(found, 3):
        assert [(part.shape, part.dtype) for part in batch] == [
            (tuple(spec.shape), spec.dtype.as_numpy_dtype) for spec in specs
        ]
        assert batch[0].dtype == pixels
        if config.data.mixes_images:
            mixing = draw_mixing(config.seed, tf.constant(step, tf.int64), (16, 16), 0.5, 1.0)
            for drawn, expected in zip(batch[3:], mixing, strict=True):
                np.testing.assert_array_equal(drawn, expected)


def test_replicas_of_a_host_mix_alike_in_each_step(config, change):
    config = change(config, data__mixup_alpha=0.5)
    three = tf.data.Dataset.range(9).map(lambda number: (number,))
    shares = [
        share.numpy()
        for *_, share in with_mixing(three, config.data, seed=1, first_step=7, replicas=3)
    ]
    of_steps = [
        draw_mixing(1, tf.constant(step, tf.int64), (16, 16), 0.5, 0.0).share.numpy()
        for step in (7, 8, 9)
    ]
    assert shares == list(np.repeat(of_steps, 3))


def test_batches_wait_on_the_device_where_no_strategy_copies_them(config, monkeypatch):
    """Another logical CPU stands for the GPU."""
    cpus = tf.config.list_logical_devices("CPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [cpus[1]])
    split = open_source(config.data.source).split("train")
    strategy = tf.distribute.get_strategy()
    order = training_order(config, config.data, split, config.seed)
    training = distributed_train_batches(strategy, order, split, config.data, 0)
    for read, expected in (
        (training, batches(config, 0, 2)),
        (distributed_eval_batches(strategy, split, config.data, 16), None),
    ):
        for index, batch in zip(range(2), read, strict=False):
            assert all(part.device.endswith(cpus[1].name) for part in batch)
            if expected:
                np.testing.assert_array_equal(batch[0], expected[index][0])
