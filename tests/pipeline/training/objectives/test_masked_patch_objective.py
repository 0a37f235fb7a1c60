"""Pre-training by masked patches and by MAE, from the first step to the transfer of its encoder."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from finished_runs import assert_bitwise_equal, checkpoint_values, rows, stop_at

from groundwork.errors import UserError
from pipeline.data.batches.distributed_batches import (
    distributed_eval_batches,
    distributed_train_batches,
    training_order,
)
from pipeline.data.dataset.source import open_source
from pipeline.devices.strategy import mirrored_strategy
from pipeline.recipe.check_run_config import check_run_config
from pipeline.run.run_stages import run
from pipeline.serving.loading import open_export
from pipeline.training.loop.evaluate import make_evaluate
from pipeline.training.objectives.objective import build_objective_model
from pipeline.training.objectives.objective_options import MaskedAutoencoderConfig
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import make_train_step
from pipeline.workdir.trained_model import load_trained_model


@pytest.fixture
def masked(config, change):
    return change(
        config,
        objective="masked_patches",
        masked_autoencoder=MaskedAutoencoderConfig(0.5, 16, 1, 2),
        model__num_layers=1,
        optim__epsilon=1e-4,
    )


MAE = {"objective": "masked_autoencoder"}
PIXELS = {"masked_patches__target": "pixels"}


def train_and_evaluate(config, replicas):
    strategy = mirrored_strategy(replicas)
    source = open_source(config.data.source)
    with strategy.scope():
        model = build_objective_model(
            config, config.model, config.data.height_width, 3, seed=config.seed
        )
        state = TrainState(model, config.optim, seed=0)
    step = make_train_step(strategy, state, config, total_steps=10, jit_compile=False)
    split = source.split("train")
    order = training_order(config, config.data, split, config.seed)
    batches = iter(distributed_train_batches(strategy, order, split, config.data, 0))
    metrics = [{k: float(v) for k, v in step(*next(batches)).items()} for _ in range(3)]
    validation = source.split("validation")
    evaluate = make_evaluate(strategy, state, config, validation.num_examples, jit_compile=False)
    evaluated = evaluate(
        distributed_eval_batches(
            strategy, validation, config.data, config.eval_batch_size or config.batch_size
        )
    ).metrics
    return {w.path: w.numpy() for w in model.trainable_variables}, metrics, evaluated


@pytest.mark.parametrize(
    ("fields", "has_accuracy"),
    [
        ({}, True),
        pytest.param({"masked_patches__target": "downsampled"}, True, marks=pytest.mark.long),
        (PIXELS, False),
        (MAE, False),
    ],
)
def test_weights_and_evaluation_are_the_same_on_two_replicas(masked, change, fields, has_accuracy):
    config = change(masked, **fields)
    one, metrics, evaluated = train_and_evaluate(config, 1)
    two, *others = train_and_evaluate(change(config, accumulate=2), 2)
    for path, value in one.items():
        np.testing.assert_allclose(two[path], value, atol=1e-5, err_msg=path)
    for found, expected in zip(others[0], metrics, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert others[1] == pytest.approx(evaluated, rel=1e-4)
    assert evaluated["examples"] == 31
    assert ("accuracy" in evaluated) == ("accuracy" in metrics[0]) == has_accuracy


@pytest.mark.parametrize("fields", [PIXELS, MAE])
def test_a_run_resumes_exports_its_encoder_and_a_classifier_starts_from_it(
    masked, change, monkeypatch, capsys, fields
):
    masked = change(masked, steps=6, ema_decay=0.9, **fields)
    whole = change(masked, workdir=masked.workdir + "_whole", export=False)
    assert run(whole) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 3, signal.SIGTERM)
        assert run(masked) == 143
    assert run(masked) == 0
    assert_bitwise_equal(checkpoint_values(masked.workdir, 6), checkpoint_values(whole.workdir, 6))
    assert rows(masked.workdir)[-1]["eval/loss"] > 0
    assert "loss" in capsys.readouterr().err

    trained = load_trained_model(masked.workdir).model
    assert trained.num_classes == 3 and not trained.head.kernel.numpy().any()
    kernel = "vit..block_0..mlp..dense_0..kernel"  # TensorFlow doubles the dots
    (name,) = [n for n in checkpoint_values(masked.workdir, 6) if kernel in n and "ema" in n]
    average = checkpoint_values(masked.workdir, 6)[name]
    exported = {weight.path: weight.numpy() for weight in trained.weights}
    np.testing.assert_array_equal(exported["vit/block_0/mlp/dense_0/kernel"], average)

    export = open_export(f"{masked.workdir}/export")
    assert export is not None
    keras_file = f"{masked.workdir}/export/model.keras"
    tuned = change(
        masked,
        objective="classify",
        workdir=masked.workdir + "_tuned",
        init_from=keras_file,
        steps=1,
        export=False,
        ema_decay=None,
        optim__peak_lr=0.0,
    )
    assert run(tuned) == 0
    start = load_trained_model(tuned.workdir).model
    for weight in start.weights:
        np.testing.assert_array_equal(weight.numpy(), exported[weight.path], err_msg=weight.path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_smoothing": 0.1}, "does not go with label_smoothing"),
        ({"data__cutmix_alpha": 1.0}, "does not go with data.mixup_alpha or data.cutmix_alpha"),
        ({"class_weights": "auto"}, "does not go with class_weights"),
        ({"masked_patches__mask_ratio": 1.0}, "mask_ratio is 1.0"),
        (MAE | {"masked_autoencoder__mask_ratio": 0.0}, "masked_autoencoder.mask_ratio is 0.0"),
        (MAE | {"loss": "sigmoid"}, "objective=masked_autoencoder does not go with loss"),
        (PIXELS | {"checkpoint__keep_best": "eval/accuracy"}, "has not: keep_best=eval/loss"),
    ],
)
def test_options_that_need_labels_are_named(masked, change, fields, message):
    with pytest.raises(UserError, match=message):
        check_run_config(change(masked, **fields))


def test_a_model_without_patches_is_named(masked, change):
    sizes = {f"model__{name}": None for name in ("num_layers", "width", "mlp_dim", "num_heads")}
    config = change(masked, **(sizes | {"model__variant": "BiT-R50x1", "data__image_size": 32}))
    with pytest.raises(UserError, match=r"masked_patches with model\.variant=BiT-R50x1"):
        build_objective_model(config, config.model, config.data.height_width, 3, seed=config.seed)
