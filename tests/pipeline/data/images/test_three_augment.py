"""3-Augment, color jitter, random erasing and crops against Pillow, timm and torchvision."""

from __future__ import annotations

import importlib.util

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageFilter
import PIL.ImageOps
import pytest
import tensorflow as tf
from dataset_folders import encode

from pipeline.data.images.augment import simple_crop, torchvision_window
from pipeline.data.images.image_operations import gaussian_blur
from pipeline.data.images.random_box import ATTEMPTS
from pipeline.data.images.random_erasing import MEAN, erased_box, random_erasing
from pipeline.data.images.three_augment import color_jitter, three_augment, three_operations

HEIGHT, WIDTH = 40, 56


def picture(seed=0) -> np.ndarray:
    """Smooth colors under noise: uint8 [40, 56, 3]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([20 + 4 * x, 250 - 5 * y, 90 + 60 * np.sin(x / 9) * np.cos(y / 7)], -1)
    return np.clip(smooth + generator.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)


def largest_difference(found, pillow) -> int:
    return int(np.abs(np.asarray(found).astype(int) - np.asarray(pillow).astype(int)).max())


@pytest.mark.parametrize("radius", [0.1, 0.6, 0.9, 1.4, 2.0])
def test_blur_is_pillows_up_to_its_rounding(radius):
    """Pillow rounds six times, this once; borders included."""
    expected = PIL.Image.fromarray(picture()).filter(PIL.ImageFilter.GaussianBlur(radius))
    found = gaussian_blur(tf.constant(picture()), tf.constant(radius))
    assert largest_difference(found, expected) <= 3
    assert np.abs(np.asarray(found).astype(float) - np.asarray(expected)).mean() < 1


def test_each_image_gets_one_of_the_three():
    image = PIL.Image.fromarray(picture())
    gray, solarized, _ = three_operations()
    draw = tf.constant([0.5, 0.5])
    known = [image.convert("L").convert("RGB"), PIL.ImageOps.solarize(image)]
    for operation, expected in zip((gray, solarized), known, strict=True):
        assert largest_difference(operation(tf.constant(picture()), draw), expected) == 0
    view = tf.function(lambda seed: three_augment(tf.constant(picture()), seed))
    views = [view(tf.constant([3, index])).numpy() for index in range(90)]
    np.testing.assert_array_equal(views[5], view(tf.constant([3, 5])))
    counts = [sum(np.array_equal(each, one) for each in views) for one in known]
    assert all(18 < count < 42 for count in counts)
    assert len({each.tobytes() for each in views}) == 2 + 90 - sum(counts)  # blurs all differ


def test_jitter_is_pillows_in_each_order():
    """The draws that it makes from the seed, applied by Pillow; each may round the other way."""
    enhancers = (PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color)
    view = tf.function(lambda seed: color_jitter(tf.constant(picture()), seed, 0.3))
    orders = set()
    for index in range(12):
        seed = tf.constant([1, index])
        draws = tf.random.stateless_uniform([3, 2], seed).numpy()
        expected = PIL.Image.fromarray(picture())
        for number, draw in zip(np.argsort(draws[:, 1]), draws[:, 0], strict=True):
            expected = enhancers[number](expected).enhance(0.7 + 0.6 * float(draw))
        assert largest_difference(view(seed), expected) <= 3
        orders.add(tuple(np.argsort(draws[:, 1])))
    assert len(orders) >= 4


class Replayed:
    """In the place of Python's `random`: numbers that were drawn before, whatever the range."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def uniform(self, low, high):
        return low + (high - low) * next(self.draws)

    def randint(self, low, high):
        return low + int(next(self.draws) * (high - low + 1))

    def random(self):
        return 0.0


def test_erased_boxes_are_timms(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    package = importlib.util.find_spec("timm")
    if package is None:
        pytest.skip("timm is not installed")
    # By its path: all of timm needs torchvision, this file does not.
    path = f"{package.submodule_search_locations[0]}/data/random_erasing.py"
    spec = importlib.util.spec_from_file_location("timms_random_erasing", path)
    timms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(timms)
    generator = np.random.default_rng(0)
    ours = tf.function(lambda draws: erased_box(draws, (30, 24)))
    for _ in range(40):
        draws = generator.random((ATTEMPTS, 4), np.float32)
        found, (top, left, height, width) = ours(tf.constant(draws))
        # timm's ratio is of height and width, ours of width and height: 1 - u is the same draw.
        replayed = []
        for area, ratio, row, column in draws.astype(np.float64):
            replayed += [area, 1 - ratio]
            replayed += [row, column] if fits(area, ratio) else []
        monkeypatch.setattr(timms, "random", Replayed(replayed))
        image = torch.zeros(3, 30, 24)
        timms.RandomErasing(probability=1.0, mode="pixel", device="cpu")(image)
        expected = np.zeros((30, 24), bool)
        if found:
            expected[top : top + height, left : left + width] = True
        np.testing.assert_array_equal(image.numpy().all(axis=0), expected)


def fits(area, ratio) -> bool:
    """Whether timm takes such a box of 30×24 pixels, and so draws a place."""
    pixels = (0.02 + (1 / 3 - 0.02) * area) * 30 * 24
    aspect = np.exp(np.log(0.3) * (1 - 2 * ratio))
    return round((pixels / aspect) ** 0.5) < 30 and round((pixels * aspect) ** 0.5) < 24


def test_erasing_draws_noise_of_imagenets_colors_as_often_as_told():
    image = tf.constant(np.full((32, 32, 3), 7, np.uint8))
    view = tf.function(lambda seed: random_erasing(image, seed, 0.25))
    views = np.stack([view(tf.constant([2, index])).numpy() for index in range(200)])
    np.testing.assert_array_equal(views[9], view(tf.constant([2, 9])))
    changed = (views != 7).any(axis=(1, 2, 3))
    assert 30 < changed.sum() < 72
    noise = views[(views != 7).any(axis=-1)]
    np.testing.assert_allclose(noise.mean(axis=0), MEAN, atol=4)
    assert 0.1 < (views != 7).any(axis=-1)[changed].mean() < 0.25


def crop_by_its_definition(draws, height, width, smallest):
    """torchvision's RandomResizedCrop.get_params as its documentation has it, in float64."""
    for area, ratio, row, column in draws.astype(np.float64):
        pixels = (smallest + (1 - smallest) * area) * height * width
        aspect = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * ratio)
        w, h = round((pixels * aspect) ** 0.5), round((pixels / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return int(row * (height - h + 1)), int(column * (width - w + 1)), h, w
    if width / height < 3 / 4:
        h, w = round(width / (3 / 4)), width
    elif width / height > 4 / 3:
        h, w = height, round(height * (4 / 3))
    else:
        h, w = height, width
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("size", [(375, 500), (40, 37), (20, 300), (300, 20)])
def test_crops_are_torchvisions(size):
    generator = np.random.default_rng(1)
    window = tf.function(lambda draws: torchvision_window(draws, tf.constant(size), 0.08))
    for _ in range(30):
        draws = generator.random((ATTEMPTS, 4), np.float32)
        expected = crop_by_its_definition(draws, *size, 0.08)
        assert tuple(window(tf.constant(draws)).numpy()) == expected


def test_the_area_of_a_crop_is_uniform():
    """Of those that always fit. Of TensorFlow's crop, 62 % of these would be in the lower half."""
    draws = tf.random.stateless_uniform([500, ATTEMPTS, 4], [0, 1])
    window = tf.function(lambda draw: torchvision_window(draw, tf.constant([400, 400]), 0.05))
    areas = np.array([np.prod(window(draw).numpy()[2:]) for draw in draws]) / 160_000
    assert abs(np.mean(areas[areas < 0.5] < 0.275) - 0.5) < 0.07


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_simple_crop_is_a_window_of_the_reflected_image(interpolation):
    """Its steps by Pillow and NumPy: the crop is one of the windows that there are."""
    encoded = tf.constant(encode(picture(), "PNG"))
    size = 20
    covering = PIL.Image.fromarray(picture()).resize((28, size), PIL.Image.Resampling.BICUBIC)
    padded = np.pad(np.asarray(covering), [(4, 4), (4, 4), (0, 0)], "reflect").astype(int)
    seen = set()
    for index in range(8):
        crop = simple_crop(encoded, (size, size), tf.constant([0, index]), interpolation).numpy()
        assert crop.shape == (size, size, 3)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (0, 1))
        distance = np.abs(windows - np.moveaxis(crop, -1, 0)).mean(axis=(2, 3, 4))
        place = np.unravel_index(distance.argmin(), distance.shape)
        if interpolation == "bicubic":
            assert distance[place] < 0.6
        seen.add(place)
    assert len(seen) > 4
