"""keras-cv's RandAugment as the alternative policy."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode

from pipeline.check_config import check_config
from pipeline.config import DataConfig
from pipeline.data.train_batches import training_view
from pipeline.errors import UserError


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


def test_it_changes_each_view_in_its_own_way_and_keeps_the_range():
    plain = views("keras_cv", 0)
    changed = views("keras_cv", 2)
    assert changed.shape == plain.shape and changed.dtype == np.float32
    assert -1 <= changed.min() < changed.max() <= 1
    assert len({view.tobytes() for view in changed}) > 6
    assert not np.array_equal(changed, views("big_vision", 2))


def test_levels_beyond_its_own_a_service_and_its_absence_are_named(config, change, monkeypatch):
    config = change(config, data__augment_preset="light2", data__randaugment_policy="keras_cv")
    check_config(config)
    with pytest.raises(UserError, match="magnitude is 20, and keras-cv's ends at 10"):
        check_config(change(config, data__augment_preset="strong1"))
    with pytest.raises(UserError, match="leave one of them out"):
        check_config(change(config, data__service="grpc://localhost:1"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install --editable '\.\[keras-cv\]'"):
        check_config(config)
