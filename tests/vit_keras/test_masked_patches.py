"""Masked patch prediction: what is corrupted, what is to be predicted, and that it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from vit_family import some_images, tiny_vit

from vit_keras import MaskedPatchModel

TARGETS = ("mean_color", "downsampled", "pixels")


def to_numpy(x):
    return ops.convert_to_numpy(x)


def make(target="mean_color", **options):
    return MaskedPatchModel(tiny_vit(num_classes=None, **options), target)


@pytest.mark.parametrize("target", TARGETS)
def test_shapes_loss_and_round_trip(target, tmp_path):
    model, images = make(target), some_images()
    seeds = np.arange(3, dtype=np.int32)
    values = {"mean_color": 512, "downsampled": 16 * 512, "pixels": 768}[target]
    predictions, corrupted = model.predict_patches(images, seeds=seeds)
    assert predictions.shape == (3, 6, values) and to_numpy(corrupted).sum(1).tolist() == [3] * 3
    loss = to_numpy(model.loss_per_image(images, seeds=seeds))
    assert loss.shape == (3,) and np.isfinite(loss).all() and (loss > 0).all()
    part = to_numpy(model.loss_per_image(images[1:], seeds=seeds[1:]))
    np.testing.assert_allclose(part, loss[1:], rtol=1e-4)

    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(to_numpy(again.loss_per_image(images, seeds=seeds)), loss)


def test_mean_color_by_hand():
    images = np.zeros((1, 32, 48, 3), np.float32)
    images[0, :16, :16] = [-1, 0, 1]  # lowest, middle and highest of 8 levels
    images[0, 16:, 32:] = [-0.76, -0.74, 0.99]
    targets = to_numpy(make().targets(images))
    assert targets[0, 0] == 0 * 64 + 4 * 8 + 7
    assert targets[0, 5] == 0 * 64 + 1 * 8 + 7
    assert targets[0, 1] == 4 * 64 + 4 * 8 + 4


def test_downsampled_and_pixel_targets():
    images = some_images()
    patch = images[1, 16:32, 16:32]  # row 1, column 1 of a 2×3 grid
    pixels = to_numpy(make("pixels").targets(images))
    np.testing.assert_allclose(pixels[1, 4], patch.ravel(), atol=1e-6)
    small = patch.reshape(4, 4, 4, 4, 3).mean((1, 3)).reshape(16, 3)
    levels = np.minimum(7, np.floor((small + 1) * 4)).astype(int)
    expected = levels @ np.array([64, 8, 1])
    np.testing.assert_array_equal(to_numpy(make("downsampled").targets(images))[1, 4], expected)


def test_corruption_is_80_10_10():
    model = MaskedPatchModel(tiny_vit(image_size=(128, 128), num_classes=None))
    patches = np.random.default_rng(0).normal(size=(200, 64, 32)).astype(np.float32)
    out, corrupted = map(to_numpy, model._corrupt(patches, np.arange(200, dtype=np.int32)))
    assert (corrupted.sum(1) == 32).all()
    np.testing.assert_array_equal(out[~corrupted], patches[~corrupted])
    masked = np.all(out == to_numpy(model.mask_token), axis=-1)
    same = np.all(out == patches, axis=-1) & corrupted
    swapped = corrupted & ~masked & ~same
    for share, expected in ((masked, 0.8), (swapped, 0.1), (same, 0.1)):
        assert share[corrupted].mean() == pytest.approx(expected, abs=0.02)
    image, place = np.argwhere(swapped)[0]
    matches = np.all(patches[image] == out[image, place], axis=-1)
    assert matches.sum() == 1 and not matches[place]
    # Every place is corrupted about equally often.
    assert np.abs(corrupted.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(200)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="TensorFlow's tape")
def test_it_learns_and_compiles():
    import tensorflow as tf

    model, optimizer = make(), keras.optimizers.Adam(3e-3)
    rng = np.random.default_rng(0)
    colors = rng.uniform(-1, 1, (8, 1, 1, 3))
    images = tf.constant(np.broadcast_to(colors, (8, 32, 48, 3)), tf.float32)
    optimizer.build(model.trainable_variables)

    @tf.function
    def gradients(seeds):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.loss_per_image(images, seeds=seeds))
        return loss, tape.gradient(loss, [w.value for w in model.trainable_variables])

    def loss_for(seeds):
        return model.loss_per_image(images, seeds=seeds)

    compiled = tf.function(loss_for, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.range(8)), loss_for(tf.range(8)), rtol=1e-3)
    losses = []
    for step in range(40):
        loss, grads = gradients(tf.range(8) + 1000 * step)
        optimizer.apply(grads, model.trainable_variables)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((tiny_vit, "mean_color"), "num_classes=None"),
        ((lambda: tiny_vit(num_classes=None), "color"), "mean_color, downsampled, pixels"),
        (
            (lambda: tiny_vit(num_classes=None, patch_size=2), "downsampled"),
            "multiple of 4 pixels",
        ),
    ],
)
def test_wrong_choices(arguments, message):
    vit, target = arguments
    with pytest.raises(ValueError, match=message):
        MaskedPatchModel(vit(), target)
