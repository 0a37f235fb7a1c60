"""Images with other than three channels, and what becomes of trained weights."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops
from vit_family import FAMILY, some_images

import vit_keras
from vit_keras.weights.pretrained import adapt_channels

RNG = np.random.default_rng(0)


def outputs(model, images):
    return ops.convert_to_numpy(model(images))


def test_gray_and_repeated_images_give_what_they_gave():
    model, images = FAMILY["plain"](), some_images()
    one = vit_keras.adapt_model(model, channels=1)
    assert one.channels == 1 and one.preprocessing.mean == (0.5,)
    gray = images[..., :1]
    expected = outputs(model, np.repeat(gray, 3, axis=-1))
    np.testing.assert_allclose(outputs(one, gray), expected, atol=1e-4)
    six = vit_keras.adapt_model(model, channels=6)
    twice = np.concatenate([images, images], axis=-1)
    np.testing.assert_allclose(outputs(six, twice), outputs(model, images), atol=1e-4)
    with pytest.raises(ValueError, match=r"takes images \[batch, 32, 48, 6\]"):
        six(images)


@pytest.mark.parametrize(("name", "layer"), [("hybrid", "conv_root"), ("bit", "root_conv")])
def test_the_first_convolution_of_a_resnet_is_adapted(name, layer):
    model = FAMILY[name]()
    adapted = vit_keras.adapt_model(model, channels=4)
    kernels = [
        ops.convert_to_numpy(weight)
        for each in (model, adapted)
        for weight in each.weights
        if weight.path.endswith(f"{layer}/kernel")
    ]
    np.testing.assert_array_equal(kernels[1], adapt_channels(kernels[0], 4))
    assert outputs(adapted, RNG.normal(size=(2, 32, 48, 4)).astype(np.float32)).shape == (2, 5)


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_kernels_are_adapted_as_timm_does(channels):
    timm = pytest.importorskip("timm.models")
    torch = pytest.importorskip("torch")
    kernel = RNG.normal(size=(4, 4, 3, 5)).astype(np.float32)
    of_timm = timm.adapt_input_conv(channels, torch.tensor(kernel.transpose(3, 2, 0, 1)))
    expected = of_timm.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(adapt_channels(kernel, channels), expected, rtol=1e-6)


def test_a_model_of_four_channels_is_saved_and_loaded(tmp_path):
    model = FAMILY["plain"](channels=4, preprocessing={"mean": [0.1] * 4, "deviation": [0.2] * 4})
    images = RNG.normal(size=(2, 32, 48, 4)).astype(np.float32)
    expected = outputs(model, images)
    model.save(tmp_path / "m.keras")
    loaded = vit_keras.from_pretrained(tmp_path / "m.keras")
    assert loaded.channels == 4 and loaded.preprocessing == model.preprocessing
    np.testing.assert_allclose(outputs(loaded, images), expected, atol=1e-6)
    pixels = (0.1 + 0.2 * images) * 255
    np.testing.assert_allclose(vit_keras.preprocess(model)(pixels), images, atol=1e-5)
    # trained weights for another number: mean and deviation with them
    adapted = vit_keras.from_pretrained(tmp_path / "m.keras", channels=2)
    assert adapted.preprocessing.deviation == (0.2, 0.2)
    with pytest.raises(ValueError, match="preprocessing has 3 channels, images 4"):
        FAMILY["plain"](channels=4, preprocessing={})
