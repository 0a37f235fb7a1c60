"""Masked autoencoder: what its encoder sees, its loss against NumPy, and saving."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from vit_family import randomize, some_images, tiny_vit

from vit_keras import MaskedAutoencoder
from vit_keras.flops import model_cost

SEEDS = np.arange(3, dtype=np.int32)
GRID, PATCH = (2, 3), 16


def to_numpy(x):
    return ops.convert_to_numpy(x)


def make(mask_ratio=0.5, normalize_pixels=True, **options):
    vit = tiny_vit(num_classes=None, position_embedding="sincos_2d", **options)
    model = MaskedAutoencoder(vit, mask_ratio, 24, 1, 2, normalize_pixels)
    return randomize(model)


def patches_of(images):
    """`[batch, patches, values]` by a loop over the grid."""
    rows, columns = GRID
    return np.stack(
        [
            images[:, r * PATCH : (r + 1) * PATCH, c * PATCH : (c + 1) * PATCH].reshape(3, -1)
            for r in range(rows)
            for c in range(columns)
        ],
        axis=1,
    )


@pytest.mark.parametrize("normalize_pixels", [True, False])
def test_the_loss_is_that_of_numpy(normalize_pixels):
    """Mean over pixels, then over hidden patches (arXiv 2111.06377, section 3), in float64."""
    model, images = make(normalize_pixels=normalize_pixels), some_images()
    predictions, hidden = map(to_numpy, model.predict_patches(images, seeds=SEEDS))
    targets = patches_of(images.astype(np.float64))
    if normalize_pixels:
        deviation = np.sqrt(targets.var(-1, ddof=1, keepdims=True) + 1e-6)
        targets = (targets - targets.mean(-1, keepdims=True)) / deviation
    errors = ((predictions - targets) ** 2).mean(-1)
    expected = [error[mask].mean() for error, mask in zip(errors, hidden, strict=True)]
    found = to_numpy(model.loss_per_image(images, training=False, seeds=SEEDS))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    alone = to_numpy(model.loss_per_image(images[1:], training=False, seeds=SEEDS[1:]))
    np.testing.assert_allclose(alone, expected[1:], rtol=1e-4)


def test_encoder_and_decoder_step_by_step_without_shuffling():
    """Attention knows no order: visible patches row by row, mask tokens in the hidden places."""
    model, images = make(), some_images()
    predictions, hidden = map(to_numpy, model.predict_patches(images, seeds=SEEDS))
    assert hidden.sum(axis=1).tolist() == [3] * 3 and len({row.tobytes() for row in hidden}) > 1
    tokens = to_numpy(model.vit.embed(images))
    for image in range(3):
        visible = np.flatnonzero(~hidden[image])
        seen = tokens[image : image + 1, np.concatenate([[0], 1 + visible])]
        for block in model.vit.blocks:
            seen = block(seen)
        seen = to_numpy(model.decoder_embedding(model.vit.encoder_norm(seen)))
        whole = np.tile(to_numpy(model.mask_token), (1, 7, 1))
        whole[:, np.concatenate([[0], 1 + visible])] = seen
        whole[:, 1:] += to_numpy(model.decoder_positions.table())[None]
        expected = model.prediction(model.decoder_norm(model.decoder_blocks[0](whole)))
        np.testing.assert_allclose(predictions[image], to_numpy(expected)[0, 1:], atol=1e-4)


def test_hidden_pixels_are_not_seen_and_visible_ones_are():
    model, images = make(mask_ratio=0.75), some_images()
    predictions, hidden = map(to_numpy, model.predict_patches(images, seeds=SEEDS))
    mask = np.kron(hidden.reshape(3, *GRID), np.ones((PATCH, PATCH)))[..., None].astype(bool)
    for where, is_same in ((mask, True), (~mask, False)):
        changed = np.where(where, -images, images)
        found = to_numpy(model.predict_patches(changed, seeds=SEEDS)[0])
        assert np.allclose(found, predictions, atol=1e-6) is is_same


def test_it_is_saved_whole_and_costs_what_its_parts_cost(tmp_path):
    model, images = make(), some_images()
    loss = to_numpy(model.loss_per_image(images, seeds=SEEDS))
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(to_numpy(again.loss_per_image(images, seeds=SEEDS)), loss)
    per_token = 4 * 32**2 + 2 * 32 * 48
    encoder = 6 * 768 * 32 + 2 * 4 * (per_token + 2 * 32 * 4)  # 3 patches and the class token
    decoder = 4 * 32 * 24 + 7 * (12 * 24**2 + 2 * 24 * 7) + 6 * 24 * 768
    assert model_cost(model).multiply_adds == encoder + decoder


@pytest.mark.parametrize(
    ("options", "ratio", "message"),
    [
        ({"num_classes": 5}, 0.5, "num_classes=None"),
        ({"rope": "grid"}, 0.5, "sees some patches alone"),
        ({"position_embedding": "relative"}, 0.5, "sees some patches alone"),
        ({}, 0.99, "hides all 6 patches"),
        ({}, 1.0, r"mask_ratio must lie in \(0, 1\)"),
    ],
)
def test_wrong_choices(options, ratio, message):
    vit = tiny_vit(**{"num_classes": None, **options})
    with pytest.raises(ValueError, match=message):
        MaskedAutoencoder(vit, ratio, 24, 1, 2)
