"""Evaluation preprocessing, against Pillow."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from dataset_folders import encode

from pipeline.data.images.image_decoding import decode_rgb
from pipeline.data.images.preprocess import EvalPreprocess

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (33, 47, 3), np.uint8)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", encode(PIXELS)[:200], encode(PIXELS, "JPEG")[:99]]
)
def test_damaged_bytes_are_an_error(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_rgb(data)


def test_straight_resize_is_antialiased_bilinear():
    result = EvalPreprocess((8, 16))(encode(PIXELS)).numpy()
    assert result.shape == (8, 16, 3)
    expected = np.asarray(
        PIL.Image.fromarray(PIXELS).resize((16, 8), PIL.Image.Resampling.BILINEAR), np.float32
    )
    assert np.abs((result + 1) * 127.5 - expected).max() < 1.0  # Pillow rounds between its passes


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (90, 31), (31, 31)])
def test_shorter_side_then_central_crop(shape):
    pixels = RNG.integers(0, 256, (*shape, 3), np.uint8)
    result = EvalPreprocess((14, 14), eval_resize=20)(encode(pixels)).numpy()
    scale = 20 / min(shape)
    height, width = round(shape[0] * scale), round(shape[1] * scale)
    resized = PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.Resampling.BILINEAR)
    left, top = (width - 14) // 2, (height - 14) // 2
    expected = np.asarray(resized.crop((left, top, left + 14, top + 14)), np.float32)
    assert np.abs((result + 1) * 127.5 - expected).max() < 1.0


def test_non_square_frame_is_covered():
    for shape in [(10, 100), (100, 10), (33, 44)]:
        image = np.full((*shape, 3), 255, np.uint8)
        result = EvalPreprocess((12, 16), eval_resize=13)(encode(image)).numpy()
        assert result.shape == (12, 16, 3)
        np.testing.assert_allclose(result, 1.0, atol=1e-6)


def test_range_and_config():
    black_white = np.array([[0, 255]], np.uint8).repeat(2, axis=0)
    assert np.array_equal(np.unique(EvalPreprocess((2, 2))(encode(black_white))), [-1.0, 1.0])
    preprocess = EvalPreprocess((12, 16), eval_resize=13)
    assert EvalPreprocess.from_config(preprocess.get_config()) == preprocess
    with pytest.raises(ValueError, match="eval_resize 10 is smaller"):
        EvalPreprocess((12, 16), eval_resize=10)
