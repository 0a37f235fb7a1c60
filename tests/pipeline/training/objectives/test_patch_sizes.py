"""Training at random patch sizes (FlexiViT): replicas, resuming, and export at any of them."""

from __future__ import annotations

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from finished_runs import assert_bitwise_equal, checkpoint_values, stop_at
from trained_steps import assert_same, train

import vit_keras
from groundwork.errors import UserError
from pipeline.devices.strategy import mirrored_strategy
from pipeline.recipe.check_run_config import check_run_config
from pipeline.run.export_stage import export_run
from pipeline.run.run_stages import run
from pipeline.serving.export_config import ExportConfig
from pipeline.training.loop.compute_meter import training_flops
from pipeline.training.objectives.patch_sizes import drawn_patch_size


@pytest.fixture
def flexible(config, change):
    return change(config, patch_sizes=[4, 8], model__num_layers=1, seed=2)


def drawn(seed, steps):
    return [int(drawn_patch_size(tf.constant(seed, tf.int64), step, 2)) for step in range(steps)]


def test_sizes_are_drawn_from_seed_and_step():
    assert drawn(0, 60) == drawn(0, 60) != drawn(1, 60)
    assert 18 < sum(drawn(0, 60)) < 42
    assert drawn(2, 3) == [1, 0, 0]  # the steps that the next test trains


def test_weights_are_the_same_on_two_replicas_in_microbatches(flexible, change):
    one = train(flexible, mirrored_strategy(1))
    assert_same(train(change(flexible, accumulate=2), mirrored_strategy(2)), one, 1e-5)
    fixed = train(change(flexible, patch_sizes=None), mirrored_strategy(1))
    losses = [[row["loss"] for row in rows] for _, rows in (one, fixed)]
    # The first step has the model's own size, the others another.
    assert np.isclose(*losses, rtol=1e-5).tolist() == [True, False, False]


def test_a_run_resumes_and_is_exported_at_a_chosen_patch_size(flexible, change, monkeypatch):
    flexible = change(flexible, steps=5, export=False)
    whole = change(flexible, workdir=flexible.workdir + "_whole", steps_per_loop=2)
    assert run(whole) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 3, signal.SIGTERM)
        assert run(flexible) == 143
    assert run(flexible) == 0
    values = checkpoint_values(flexible.workdir, 5)
    assert_bitwise_equal(values, checkpoint_values(whole.workdir, 5))

    own, small = (f"{flexible.workdir}/{name}" for name in ("own", "small"))
    export_run(ExportConfig(flexible.workdir, own))
    description = export_run(ExportConfig(flexible.workdir, small, patch_size=4))
    assert description.variant == "Ti/4"
    trained, exported = (keras.saving.load_model(f"{each}/model.keras") for each in (own, small))
    assert (trained.patch_size, exported.patch_size) == (8, 4)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(
        exported(images), vit_keras.AtPatchSize(trained, 4)(images), atol=1e-5
    )
    costs = [training_flops(trained, sizes) for sizes in ([4], [8], [4, 8], None)]
    assert costs[2] == (costs[0] + costs[1]) // 2 and costs[1] == costs[3] < costs[0]
    with pytest.raises(UserError, match="patch_size 5: image size"):
        export_run(ExportConfig(flexible.workdir, small, patch_size=5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch_sizes": [4, 5]}, r"patch_sizes has 5, .* choose from 4, 8, 16"),
        ({"model__remat": True}, "patch_sizes do not go with model.remat"),
        ({"objective": "masked_autoencoder"}, "do not go with objective=masked_autoencoder"),
    ],
)
def test_what_cannot_be_is_named(flexible, change, fields, message):
    with pytest.raises(UserError, match=message):
        check_run_config(change(flexible, **fields))
