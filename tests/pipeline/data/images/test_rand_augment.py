"""Each operation of RandAugment against Pillow; replay of the choices from the seed."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf

from pipeline.data.images.augment_preset import AUGMENT_PRESETS
from pipeline.data.images.rand_augment import make_operations, rand_augment

HEIGHT, WIDTH = 60, 72
GRAY = (128, 128, 128)


def picture() -> np.ndarray:
    """Smooth colors under noise, of differing range in each channel: uint8 [60, 72, 3]."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([20 + 2 * x, 250 - 3 * y, 60 + 50 * np.sin(x / 9) * np.cos(y / 7)], -1)
    return np.clip(smooth + generator.normal(0, 9, smooth.shape), 4, 251).astype(np.uint8)


def affine(matrix):
    """Pillow's transform of coordinates that are pixel corners, not centers."""
    a, b, c, d, e, f = matrix
    centered = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
    size = (WIDTH, HEIGHT)
    return lambda image: image.transform(size, PIL.Image.Transform.AFFINE, centered, fillcolor=GRAY)


def rotation(degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    return affine((cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y))


def enhancer(name, factor):
    return lambda image: getattr(PIL.ImageEnhance, name)(image).enhance(factor)


def pasted(box):
    def paste(image):
        image.paste(GRAY, box)
        return image

    return paste


def brightened(image):
    return image.point([min(i + 77, 255) if i < 128 else i for i in range(256)] * 3)


# At level 7, first random number below 1/2: what Pillow does, and by how much a value may differ.
ENHANCE = 0.7 * 1.8 + 0.1
EXPECTED = {
    "AutoContrast": (PIL.ImageOps.autocontrast, 1),
    "Equalize": (PIL.ImageOps.equalize, 0),
    "Invert": (PIL.ImageOps.invert, 0),
    "Rotate": (rotation(21), 0),
    "Posterize": (lambda image: PIL.ImageOps.posterize(image, 2), 0),
    "Solarize": (lambda image: PIL.ImageOps.solarize(image, 179), 0),
    "Color": (enhancer("Color", ENHANCE), 1),
    "Contrast": (enhancer("Contrast", ENHANCE), 1),
    "Brightness": (enhancer("Brightness", ENHANCE), 1),
    "Sharpness": (enhancer("Sharpness", ENHANCE), 1),
    "ShearX": (affine((1, 0.21, 0, 0, 1, 0)), 0),
    "ShearY": (affine((1, 0, 0, 0.21, 1, 0)), 0),
    "TranslateX": (affine((1, 0, 70, 0, 1, 0)), 0),
    "TranslateY": (affine((1, 0, 0, 0, 1, 70)), 0),
    "Cutout": (pasted((43, 0, 72, 43)), 0),  # row 15, column 71 and 28 pixels each way
    "SolarizeAdd": (brightened, 0),
}
DRAW = (0.25, 0.999999)


@cache
def operations(level):
    return make_operations((HEIGHT, WIDTH), level)


def test_there_is_an_expectation_for_each_operation():
    assert list(EXPECTED) == list(operations(7)) and len(EXPECTED) == 16


@pytest.mark.parametrize("name", EXPECTED)
def test_operation_is_pillows(name):
    pillow, tolerance = EXPECTED[name]
    expected = np.asarray(pillow(PIL.Image.fromarray(picture()))).astype(int)
    operation = tf.function(operations(7)[name])
    found = operation(tf.constant(picture()), tf.constant(DRAW)).numpy()
    assert found.dtype == np.uint8 and found.shape == picture().shape
    # Where a place lies half-way between two pixels, rounding decides: in one of a thousand.
    differing = np.abs(found - expected).max(axis=-1) > tolerance
    assert differing.mean() <= 1e-3
    assert np.abs(expected - picture()).mean() > 1


def test_the_other_direction_is_the_mirrored_one():
    """A shift the other way is the shift of the mirrored image, mirrored."""
    for name, axis in (("TranslateX", 1), ("TranslateY", 0)):
        operation = operations(3)[name]
        there = operation(tf.constant(picture()), tf.constant([0.2, 0.0])).numpy()
        back = operation(tf.constant(np.flip(picture(), axis).copy()), tf.constant([0.7, 0.0]))
        np.testing.assert_array_equal(np.flip(back.numpy(), axis), there)
    found = operations(3)["Rotate"](tf.constant(picture()), tf.constant([0.7, 0.0])).numpy()
    expected = np.asarray(rotation(-9)(PIL.Image.fromarray(picture())))
    assert (found != expected).mean() <= 1e-3


@pytest.mark.parametrize(("level", "threshold"), [(5, 128), (10, 0), (15, 128), (20, 0)])
def test_solarize_wraps_its_threshold_as_the_original(level, threshold):
    found = operations(level)["Solarize"](tf.constant(picture()), tf.constant(DRAW)).numpy()
    expected = PIL.ImageOps.solarize(PIL.Image.fromarray(picture()), threshold)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_constant_images_and_far_levels_pass():
    flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for name, operation in operations(20).items():
        out = operation(tf.constant(flat), tf.constant(DRAW)).numpy()
        assert out.shape == flat.shape, name
        if name in ("AutoContrast", "Equalize"):
            np.testing.assert_array_equal(out, flat)
        if name.startswith("Translate"):
            np.testing.assert_array_equal(out, 128)


def test_level_0_is_not_nothing():
    found = operations(0)["Posterize"](tf.constant(picture()), tf.constant(DRAW)).numpy()
    assert set(np.unique(found)) == {0, 128}
    same = operations(0)["Rotate"](tf.constant(picture()), tf.constant(DRAW)).numpy()
    np.testing.assert_array_equal(same, picture())


def test_choices_follow_from_the_seed_image_by_image():
    image = tf.constant(picture())
    seeds = tf.stack([tf.zeros(64, tf.int32), tf.range(64)], axis=-1)

    def views(seeds):
        dataset = tf.data.Dataset.from_tensor_slices(seeds)
        return np.stack(
            list(dataset.map(lambda s: rand_augment(image, s, 2, 5)).as_numpy_iterator())
        )

    first = views(seeds)
    np.testing.assert_array_equal(views(seeds[::-1])[::-1], first)
    assert len({view.tobytes() for view in first}) > 40


def test_each_operation_is_chosen_about_as_often():
    """With one layer, a view is one of the operations' results."""
    image = tf.constant(picture())
    known = {}
    for name, operation in operations(6).items():
        for side in (0.2, 0.7):
            known[operation(image, tf.constant([side, 0.5])).numpy().tobytes()] = name
    view = tf.function(lambda seed: rand_augment(image, seed, 1, 6))
    names = [
        known.get(view(tf.constant([7, index])).numpy().tobytes(), "Cutout") for index in range(640)
    ]
    counts = [names.count(name) for name in operations(6)]
    assert min(counts) > 20 and max(counts) < 65


def test_presets_are_those_of_augreg():
    rows = {
        name: (p.randaugment_layers, p.randaugment_magnitude, p.mixup_alpha)
        for name, p in AUGMENT_PRESETS.items()
    }
    assert rows == {
        "none": (0, 0, 0.0),
        "light1": (2, 0, 0.0),
        "light2": (2, 10, 0.2),
        "medium1": (2, 15, 0.2),
        "medium2": (2, 15, 0.5),
        "strong1": (2, 20, 0.5),
        "strong2": (2, 20, 0.8),
    }
