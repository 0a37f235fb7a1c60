"""keras-cv's RandAugment as the alternative policy."""

from __future__ import annotations

import functools
import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode

from groundwork.errors import UserError
from pipeline.check_config import check_config
from pipeline.config import DataConfig
from pipeline.data.keras_cv_augment import standard_policy, transformations
from pipeline.data.train_batches import training_view


def views(policy: str, layers: int, count: int = 12) -> np.ndarray:
    """Views of one picture, which is neither cropped nor mirrored."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    config = DataConfig(
        "unused",
        image_size=24,
        crop="resize",
        flip=False,
        randaugment_layers=layers,
        randaugment_magnitude=10,
        randaugment_policy=policy,
    )

    def view(number: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([0, number])
        return training_view(tf.constant(encode(pixels, "PNG")), config, seed, seed, seed)

    dataset = tf.data.Dataset.range(count).map(lambda i: view(tf.cast(i, tf.int32)))
    return np.stack(list(dataset.as_numpy_iterator()))


def test_it_changes_each_view_in_its_own_way_by_the_seed_and_keeps_the_range():
    plain = views("keras_cv", 0)
    changed = views("keras_cv", 2)
    assert changed.shape == plain.shape and changed.dtype == np.float32
    assert -1 <= changed.min() < changed.max() <= 1
    assert len({view.tobytes() for view in changed}) > 6
    np.testing.assert_array_equal(changed, views("keras_cv", 2))
    assert not np.array_equal(changed, views("big_vision", 2))


def test_about_one_of_eleven_operations_is_left_out():
    changed = views("keras_cv", 1, count=220)
    unchanged = np.isclose(changed, views("keras_cv", 0, count=1), atol=1e-5).all(axis=(1, 2, 3))
    assert 8 <= unchanged.sum() <= 36  # 20 are expected


@pytest.mark.parametrize("magnitude", [0, 6])
def test_each_layer_gets_what_it_would_draw_itself(magnitude):
    """The same structure and shapes, and the same distribution over many images."""
    count = 4000
    tf.random.set_seed(0)
    tf.random.get_global_generator().reset_from_seed(0)
    layers = standard_policy(magnitude)
    assert len(layers) == 10
    draws = np.random.default_rng(0).random((count, 2)).astype(np.float32)
    for layer in layers:
        theirs = layer.get_random_transformation_batch(count)
        ours = transformations(layer, tf.constant(draws[0]))
        if ours is None:
            assert layer.name.startswith(("auto_contrast", "equalization"))
            continue
        many = tf.vectorized_map(functools.partial(transformations, layer), draws)
        tf.nest.assert_same_structure(ours, theirs)
        for one, found, expected in zip(*map(tf.nest.flatten, (ours, many, theirs)), strict=True):
            assert one.shape == [1, *expected.shape[1:]]
            quantiles = [np.sort(np.ravel(values)) for values in (found, expected)]
            spread = max(float(np.ptp(expected)), 1e-6)
            assert np.abs(np.subtract(*quantiles)).mean() < 0.02 * spread, layer.name


def test_levels_beyond_its_own_and_its_absence_are_named(config, change, monkeypatch):
    config = change(config, data__augment_preset="light2", data__randaugment_policy="keras_cv")
    check_config(config)
    with pytest.raises(UserError, match="magnitude is 20, and keras-cv's ends at 10"):
        check_config(change(config, data__augment_preset="strong1"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install --editable '\.\[keras-cv\]'"):
        check_config(config)
