"""Fine-tuning recipes against the numbers of their papers."""

import math

import numpy as np
import pytest
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.fine_tuning.fine_tune_recipe import make_recipe

PHOTO = 375 * 500


def test_paper_recipe_is_table_4():
    config = FineTuneConfig()
    flowers = make_recipe(config, 1020, PHOTO)
    assert (flowers.steps, flowers.batch_size) == (500, 512)
    assert flowers.crop_size == (384, 384) and flowers.resize_size is None
    assert (flowers.momentum, flowers.clip_norm, flowers.mixup) == (0.9, 1.0, 0.0)
    assert make_recipe(config, 50_000, 32 * 32).steps == 10_000
    assert make_recipe(config, 1_281_167, PHOTO).steps == 20_000
    assert config.rates() == [0.001, 0.003, 0.01, 0.03]


def test_cosine_with_linear_warm_up():
    recipe = make_recipe(FineTuneConfig(steps=100, warmup_steps=10), 1000, PHOTO)
    for step in (0, 5, 10, 11, 55, 99, 100):
        if step < 10:
            expected = 0.03 * step / 10
        else:
            expected = 0.03 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2
        assert float(recipe.learning_rate(tf.constant(step), 0.03)) == pytest.approx(
            expected, abs=1e-8
        )


@pytest.mark.parametrize(
    ("examples", "supports", "mixup"),
    [
        (1000, [100, 200, 300, 400, 500], 0.0),
        (19_999, [100, 200, 300, 400, 500], 0.0),
        (20_000, [500, 3000, 6000, 9000, 10_000], 0.1),
        (500_000, [500, 6000, 12_000, 18_000, 20_000], 0.1),
    ],
)
def test_hyperrule_schedule(examples, supports, mixup):
    config = FineTuneConfig(recipe="bit_hyperrule")
    recipe = make_recipe(config, examples, PHOTO)
    assert (recipe.steps, recipe.mixup, recipe.clip_norm) == (supports[-1], mixup, None)
    assert config.rates() == [0.003]
    warmup, *drops, _ = supports
    for step in {0, 1, warmup - 1, warmup, *drops, *(d + 1 for d in drops), supports[-1] - 1}:
        rate = 0.003 * min(1.0, step / warmup)
        for drop in drops:
            rate /= 10 if step > drop else 1
        assert float(recipe.learning_rate(tf.constant(step), 0.003)) == pytest.approx(
            rate, rel=1e-5
        )


def test_hyperrule_resolution_follows_the_images():
    config = FineTuneConfig(recipe="bit_hyperrule")
    small = make_recipe(config, 1000, 95 * 96)
    assert (small.resize_size, small.crop_size) == ((160, 160), (128, 128))
    large = make_recipe(config, 1000, 96 * 96)
    assert (large.resize_size, large.crop_size) == ((512, 512), (480, 480))
    chosen = make_recipe(FineTuneConfig(recipe="bit_hyperrule", image_size=384), 1000, PHOTO)
    assert (chosen.resize_size, chosen.crop_size) == ((410, 410), (384, 384))
    uncropped = make_recipe(FineTuneConfig(recipe="bit_hyperrule", random_crop=False), 1000, PHOTO)
    assert uncropped.resize_size == uncropped.crop_size == (480, 480)


def test_hyperrule_in_fewer_steps_keeps_its_shape():
    short = make_recipe(FineTuneConfig(recipe="bit_hyperrule", steps=50), 1000, PHOTO)
    assert (short.boundaries, short.steps) == ((10, 20, 30, 40), 50)
    rates = [float(short.learning_rate(tf.constant(step), 1.0)) for step in range(50)]
    np.testing.assert_allclose([rates[10], rates[21], rates[31], rates[41]], [1, 0.1, 0.01, 1e-3])


def test_a_batch_is_no_larger_than_the_split():
    assert make_recipe(FineTuneConfig(), 800, PHOTO).batch_size == 512
    assert make_recipe(FineTuneConfig(), 100, PHOTO).batch_size == 100


def test_batches_are_shared_evenly():
    config = FineTuneConfig(accumulate=2)
    assert make_recipe(config, 1000, PHOTO, replicas=4).batch_size == 512
    assert make_recipe(config, 403, PHOTO, replicas=4).batch_size == 400
    # The sweep's runs have fewer images than the final ones; the step is compiled once.
    assert make_recipe(config, 403, PHOTO, smallest_split=363).batch_size == 362
    with pytest.raises(UserError, match="batch_size 512 is not divisible by 3 replicas × accum"):
        make_recipe(config, 1000, PHOTO, replicas=3)
    with pytest.raises(UserError, match="there are 7 to train on"):
        make_recipe(config, 7, PHOTO, replicas=4)
    mixes = FineTuneConfig("bit_hyperrule", accumulate=2, batch_size=510)
    with pytest.raises(UserError, match="accumulate 2 × 2 for MixUp: choose a multiple of 4"):
        make_recipe(mixes, 20_000, PHOTO)


def test_warm_up_beyond_the_first_drop_is_refused():
    with pytest.raises(UserError, match="warmup_steps 5 is more than the 4 steps"):
        make_recipe(FineTuneConfig("bit_hyperrule", steps=10, warmup_steps=5), 1000, PHOTO)
