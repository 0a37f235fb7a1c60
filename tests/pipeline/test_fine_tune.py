"""Fine-tuning: the arithmetic of a run, and the protocol around runs."""

import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder
from exported_models import export_tiny_vit, tiny_vit

import vit_keras
from pipeline.data.source import open_source
from pipeline.errors import TrainingDiverged, UserError
from pipeline.evaluation.config import FineTuneConfig, TransferConfig, TransferData
from pipeline.evaluation.fine_tuning import protocol
from pipeline.evaluation.fine_tuning.recipe import make_recipe
from pipeline.evaluation.fine_tuning.training import FineTuner, MomentumState, mix
from pipeline.evaluation.run import run_transfer
from pipeline.evaluation.subject import open_subject
from pipeline.serving.loading import open_export

SETTINGS: dict[str, Any] = {"image_size": 16, "flip": False, "batch_size": 16, "warmup_steps": 5}


def bars(count, seed):
    """JPEGs with a bright left or right half."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        pixels = generator.integers(0, 120, (24, 40, 3), np.uint8)
        pixels[:, :20] += 120 * np.uint8(index % 2)
        pixels[:, 20:] += 120 * np.uint8(1 - index % 2)
        yield encode(pixels, "JPEG"), index % 2, f"{seed}-{index}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fine_tune")
    export_tiny_vit(folder / "random")
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 1, "width": 16, "mlp_dim": 32, "num_heads": 2, "patch_size": 8}
    fresh = vit_keras.create_model("Ti/16", image_size=16, num_classes=3, classifier="gap", **sizes)
    export_tiny_vit(folder / "model", fresh)
    splits = {"train": bars(64, 1), "test": bars(30, 2)}
    write_dataset_folder(folder / "bars", splits, ("left", "right"))
    return folder


@pytest.fixture(scope="module")
def train(inputs):
    return open_source(str(inputs / "bars")).split("train")


def tuned_weights(train, seeds=(0,), accumulate=1):
    """Weights after the last of several runs."""
    config = FineTuneConfig(steps=4, random_crop=False, **SETTINGS)
    model = vit_keras.adapt_model(tiny_vit(classifier="gap"), image_size=16, num_classes=2)
    tuner = FineTuner(model, make_recipe(config, 64, 960), accumulate=accumulate, flip=False)
    for seed in seeds:
        tuner.run(train, 0.3, seed)
    return model.get_weights()


def assert_equal(first, second, atol=0.0):
    for one, two in zip(first, second, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=atol)


def test_a_run_repeats_and_its_seed_and_microbatches_mean_what_they_say(train):
    reference = tuned_weights(train)
    assert_equal(tuned_weights(train, seeds=(1, 0)), reference)  # runs do not depend on others
    assert_equal(tuned_weights(train, accumulate=4), reference, atol=1e-5)
    other = tuned_weights(train, seeds=(1,))
    assert max(np.abs(a - b).max() for a, b in zip(other, reference, strict=True)) > 1e-3


def test_momentum_is_that_of_keras_at_a_constant_rate():
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    reference = keras.models.clone_model(model)
    reference.set_weights(model.get_weights())
    state, optimizer = MomentumState(model, None), keras.optimizers.SGD(0.1, momentum=0.9)
    generator = np.random.default_rng(0)
    for _ in range(4):
        gradients = [
            tf.constant(generator.normal(size=v.shape), tf.float32) for v in state.variables
        ]
        state.apply(gradients, tf.constant(0.1), 0.9)
        optimizer.apply(gradients, reference.trainable_variables)
    assert_equal(model.get_weights(), reference.get_weights(), atol=1e-6)


def test_polyak_average_is_the_weighted_past():
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    state = MomentumState(model, polyak_decay=0.8)
    weight = float(model.get_weights()[0][0, 0])
    average = weight
    for _ in range(3):
        state.apply([tf.constant([[1.0]])], tf.constant(0.5), 0.0)
        weight -= 0.5
        average = 0.8 * average + 0.2 * weight
    assert model.get_weights()[0][0, 0] == pytest.approx(weight, abs=1e-5)
    state.take_averages()
    assert model.get_weights()[0][0, 0] == pytest.approx(average, abs=1e-5)


def test_mixup_mixes_images_and_targets_alike():
    images = tf.random.stateless_uniform([6, 2, 2, 3], [0, 1])
    targets = tf.one_hot([0, 1, 2, 0, 1, 2], 3)
    shares = []
    for seed in range(20):
        mixed, mixed_targets = mix(images, targets, 0.5, tf.constant([seed, 7]))
        share = float(mixed_targets[0, 0])
        assert 0.5 <= share <= 1.0
        expected = share * images + (1 - share) * tf.roll(images, 1, 0)
        np.testing.assert_allclose(mixed, expected, atol=1e-5)
        np.testing.assert_allclose(tf.reduce_sum(mixed_targets, 1), 1.0, atol=1e-6)
        shares.append(share)
    assert len(set(shares)) == 20


def test_a_loss_that_is_not_finite_stops_the_run(train):
    model = vit_keras.adapt_model(tiny_vit(), image_size=16, num_classes=2)
    model.set_weights([np.full(w.shape, np.nan) for w in model.get_weights()])
    recipe = make_recipe(FineTuneConfig(steps=3, **SETTINGS), 64, 960)
    with pytest.raises(TrainingDiverged, match="at rate 1: loss nan at step 0"):
        FineTuner(model, recipe).run(train, peak_rate=1, seed=0)


def config(inputs, output, model="model", **options):
    fine_tune_config = FineTuneConfig(**(SETTINGS | {"steps": 40, "random_crop": False} | options))
    data = TransferData(source=str(inputs / "bars"))
    return TransferConfig(
        model=str(inputs / model),
        data=data,
        output=str(output),
        protocols=["fine_tune"],
        fine_tune=fine_tune_config,
        attention_images=2,
    )


@pytest.fixture(scope="module")
def report(inputs):
    output = inputs / "report"
    rates = [1e-6, 0.05]
    result = run_transfer(config(inputs, output, learning_rates=rates, polyak_decay=0.5))
    return output, result


def test_learns_and_takes_the_rate_that_is_best_on_the_dev_split(report):
    _, result = report
    score = result["fine_tune"]["model"]["paper"]
    assert score["mean"] > 0.9
    chosen = score["chosen"]
    assert chosen["learning_rate"] == 0.05
    assert chosen["dev accuracy at 0.05"] > chosen["dev accuracy at 1e-06"]
    assert result["analysis"]["protocol"] == "fine_tune"
    json.dumps(result)


def test_the_exported_model_repeats_the_result_from_the_files_bytes(inputs, report):
    """What was trained through the input pipeline answers the same through the SavedModel."""
    output, result = report
    export = open_export(str(output / "model"))
    test = open_source(str(inputs / "bars")).split("test")
    serve = export.saved_model.signatures["serve"]
    images, labels = zip(*((image, label) for image, label, _ in bars(30, 2)), strict=True)
    served = serve(image_bytes=tf.constant(images))["probabilities"].numpy()
    hits = served.argmax(1) == np.array(labels)
    assert hits.mean() == result["fine_tune"]["model"]["paper"]["mean"]
    recipe = make_recipe(FineTuneConfig(**SETTINGS), 64, 960)
    again = FineTuner(export.keras_model(), recipe).predict(test)
    np.testing.assert_allclose(
        np.sort(again["confidences"]), np.sort(served.max(axis=1)), atol=1e-5
    )
    assert export.description.class_names == ("left", "right")
    assert export.description.image_size == (16, 16)


def test_finished_runs_are_not_repeated(inputs, report, monkeypatch):
    output, first = report

    def unexpected(*_, **__):
        raise AssertionError("this run was finished before")

    monkeypatch.setattr(protocol, "FineTuner", unexpected)
    options = {"learning_rates": [1e-6, 0.05], "polyak_decay": 0.5}
    again = run_transfer(config(inputs, output, **options))
    assert again["fine_tune"] == first["fine_tune"]
    with pytest.raises(AssertionError, match="finished before"):
        run_transfer(config(inputs, output, **(options | {"steps": 41})))


@pytest.mark.parametrize("form", ["random/model.keras", "weights.npz"])
def test_starts_from_a_file_of_weights(inputs, form):
    size = (16, 24) if form.endswith(".keras") else (16, 16)  # official files have square grids
    live = tiny_vit(size)
    vit_keras.save_weights(live, str(inputs / "weights.npz"), "official")
    subject = open_subject(str(inputs / form))
    assert subject.export is None
    model = subject.load(size, 5)
    images = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(model.features(images), live.features(images), atol=1e-5)
    assert model.num_classes == 5 and np.all(model(images) == 0)


def test_starts_from_a_workdir(tmp_path):
    from test_export import make_workdir

    state = make_workdir(tmp_path / "run")
    subject = open_subject(str(tmp_path / "run"))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    expected = state.model.features(images)
    np.testing.assert_allclose(subject.load((16, 16), 7).features(images), expected, atol=1e-5)
    assert subject.identity["origin"]["step"] == 2


def test_settings_that_cannot_be(inputs, tmp_path):
    with pytest.raises(UserError, match="accumulate 3 does not divide the batch of 16"):
        run_transfer(config(inputs, tmp_path, accumulate=3))
    with pytest.raises(UserError, match="frozen protocols need an export folder"):
        options = config(inputs, tmp_path, model="model/model.keras")
        options.protocols = ["knn"]
        run_transfer(options)
    with pytest.raises(UserError, match="polyak_decay is 1"):
        run_transfer(config(inputs, tmp_path, polyak_decay=1.5))
    with pytest.raises(UserError, match="does not exist"):
        open_subject(str(tmp_path / "none.npz"))
    splits = {"train": bars(20, 1), "test": [(i, -1, k) for i, _, k in bars(4, 2)]}
    write_dataset_folder(tmp_path / "unlabelled", splits, ("left", "right"))
    options = config(inputs, tmp_path / "report")
    options.data.source = str(tmp_path / "unlabelled")
    with pytest.raises(UserError, match="split test has examples without label"):
        run_transfer(options)
