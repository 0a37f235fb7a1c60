"""Fine-tuning: the arithmetic of a run, and the protocol around runs."""

import shutil
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder
from exported_models import export_tiny_vit, tiny_vit
from finished_runs import make_workdir

import vit_keras
from groundwork.errors import TrainingDiverged, UserError
from pipeline.data.dataset.source import open_source
from pipeline.devices.strategy import mirrored_strategy
from pipeline.evaluation.fine_tuning import fine_tune_protocol as protocol
from pipeline.evaluation.fine_tuning import fine_tune_recipe as recipe_module
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.fine_tuning.fine_tune_recipe import make_recipe
from pipeline.evaluation.fine_tuning.fine_tuner import FineTuner
from pipeline.evaluation.reports import report as report_module
from pipeline.evaluation.tasks.task_config import TransferData
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer
from pipeline.named_models.evaluated_model import open_evaluated_model
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


def make_tuner(replicas=1, **options):
    chosen = FineTuneConfig(**(SETTINGS | {"steps": 4, "random_crop": False} | options))
    strategy = tf.distribute.get_strategy() if replicas == 1 else mirrored_strategy(replicas)
    recipe = make_recipe(chosen, 64, 960, replicas=replicas)
    return FineTuner(load_random, recipe, chosen, strategy)


def load_random(policy="float32"):
    model = tiny_vit(classifier="gap")
    return vit_keras.adapt_model(model, image_size=16, num_classes=2, dtype=policy)


def tuned_weights(tuner, train, seed=0):
    tuner.run(train, 0.3, seed)
    return tuner.model.get_weights()


def assert_equal(first, second, atol=0.0):
    for one, two in zip(first, second, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=atol)


def test_a_run_repeats_and_its_seed_means_what_it_says(train):
    tuner = make_tuner()
    reference, other, again = (tuned_weights(tuner, train, seed) for seed in (0, 1, 0))
    assert_equal(again, reference)  # and does not depend on the run before
    assert max(np.abs(a - b).max() for a, b in zip(other, reference, strict=True)) > 1e-3


MIXES = {"recipe": "bit_hyperrule", "warmup_steps": 1, "random_crop": True, "polyak_decay": 0.5}


@pytest.mark.parametrize("options", [{}, MIXES], ids=["paper", "hyperrule-mixup-average"])
def test_replicas_and_microbatches_give_the_same_weights(train, options, monkeypatch):
    monkeypatch.setattr(recipe_module, "SMALL_DATASET", 0)  # from there on HyperRule mixes
    reference = tuned_weights(make_tuner(**options), train)
    divided = tuned_weights(make_tuner(replicas=2, accumulate=2, **options), train)
    assert_equal(divided, reference, atol=1e-5)


def test_replicas_give_the_same_predictions(inputs):
    test = open_source(str(inputs / "bars")).split("test[:23]")
    chosen = FineTuneConfig(**SETTINGS)
    answers = []
    for strategy in (tf.distribute.get_strategy(), mirrored_strategy(2)):
        recipe = make_recipe(chosen, 64, 960)
        tuner = FineTuner(lambda policy: tiny_vit((16, 16), 2), recipe, chosen, strategy)
        answers.append(tuner.predict(test))
    assert answers[0]["labels"].shape == (23,)
    for name, expected in answers[0].items():
        np.testing.assert_allclose(answers[1][name], expected, atol=1e-6)


def test_bfloat16_computes_in_it_and_keeps_float32_weights():
    model = make_tuner(precision="bfloat16").model
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}


def test_a_loss_that_is_not_finite_stops_the_run(train):
    def load(policy):
        model = load_random()
        model.set_weights([np.full(w.shape, np.nan) for w in model.get_weights()])
        return model

    chosen = FineTuneConfig(steps=3, **SETTINGS)
    tuner = FineTuner(load, make_recipe(chosen, 64, 960), chosen, tf.distribute.get_strategy())
    with pytest.raises(TrainingDiverged, match="at rate 1: loss nan at step 0"):
        tuner.run(train, peak_rate=1, seed=0)


def config(inputs, output, model="model", **options):
    fine_tune_config = FineTuneConfig(**(SETTINGS | {"steps": 80, "random_crop": False} | options))
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
    output, result = report
    score = result.protocols["fine_tune"].model["paper"]
    assert score.mean > 0.9
    chosen = score.chosen
    assert chosen["learning_rate"] == 0.05
    assert chosen["dev accuracy at 0.05"] > chosen["dev accuracy at 1e-06"]
    assert result.analysis.protocol == "fine_tune"
    text = (output / "report.md").read_text()
    assert "learning_rate 0.05" in text and "dev accuracy at 1e-06 " in text


def test_the_exported_model_repeats_the_result_from_the_files_bytes(inputs, report):
    """What was trained through the input pipeline answers the same through the SavedModel."""
    output, result = report
    export = open_export(str(output / "model"))
    test = open_source(str(inputs / "bars")).split("test")
    serve = export.saved_model.signatures["serve"]
    images, labels = zip(*((image, label) for image, label, _ in bars(30, 2)), strict=True)
    served = serve(image_bytes=tf.constant(images))["probabilities"].numpy()
    hits = served.argmax(1) == np.array(labels)
    assert hits.mean() == result.protocols["fine_tune"].model["paper"].mean
    chosen = FineTuneConfig(**SETTINGS)
    recipe, strategy = make_recipe(chosen, 64, 960), tf.distribute.get_strategy()
    again = FineTuner(lambda _: export.keras_model(), recipe, chosen, strategy).predict(test)
    np.testing.assert_allclose(
        np.sort(again["probabilities"].max(axis=1)), np.sort(served.max(axis=1)), atol=1e-3
    )
    assert export.description.class_names == ("left", "right")
    assert export.description.image_size == (16, 16)
    card = (output / "model" / "README.md").read_text()
    assert f"{hits.mean():.2%}" in card and "Dev accuracy at 0.05" in card
    assert "peak learning rate 0.05" in card and "`left`, `right`" in card


def test_finished_runs_are_not_repeated(inputs, report, monkeypatch):
    output, first = report

    def unexpected(*_, **__):
        raise AssertionError("this run was finished before")

    monkeypatch.setattr(protocol, "FineTuner", unexpected)
    options = {"learning_rates": [1e-6, 0.05], "polyak_decay": 0.5}
    again = run_transfer(config(inputs, output, **options))
    assert again.protocols == first.protocols
    with pytest.raises(AssertionError, match="finished before"):
        run_transfer(config(inputs, output, **(options | {"steps": 81})))


def test_the_pictures_are_of_the_fine_tuned_model(inputs, report, monkeypatch):
    output, _ = report
    assert (output / "attention.png").exists()
    drawn = []
    monkeypatch.setattr(report_module, "draw_attention", lambda model, *_: drawn.append(model))
    run_transfer(config(inputs, output, learning_rates=[1e-6, 0.05], polyak_decay=0.5))
    tuned = open_export(str(output / "model")).keras_model()
    assert_equal(drawn[0].get_weights(), tuned.get_weights())


def test_a_file_of_weights_has_pictures_too_and_a_lost_model_is_made_again(inputs, tmp_path):
    vit_keras.save_weights(tiny_vit((16, 16)), str(inputs / "official.npz"), "official")
    options = {"learning_rates": [0.05], "steps": 2}
    first = run_transfer(config(inputs, tmp_path, "official.npz", **options))
    assert (tmp_path / "attention.png").exists() and not first.notes
    card = (tmp_path / "model" / "README.md").read_text()
    shutil.rmtree(tmp_path / "model")
    assert run_transfer(config(inputs, tmp_path, "official.npz", **options)) is not None
    assert (tmp_path / "model" / "README.md").read_text().partition("SHA")[0] == (
        card.partition("SHA")[0]
    )
    without = run_transfer(config(inputs, tmp_path, "official.npz", export=False, **options))
    assert "no pictures of attention" in without.notes[0]


@pytest.mark.parametrize("form", ["random/model.keras", "weights.npz"])
def test_starts_from_a_file_of_weights(inputs, form):
    size = (16, 24) if form.endswith(".keras") else (16, 16)  # official files have square grids
    live = tiny_vit(size)
    vit_keras.save_weights(live, str(inputs / "weights.npz"), "official")
    evaluated = open_evaluated_model(str(inputs / form))
    assert evaluated.export is None
    model = evaluated.load(size, 5, "float32")
    images = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(model.features(images), live.features(images), atol=1e-5)
    assert model.num_classes == 5 and np.all(model(images) == 0)


def test_starts_from_a_workdir(tmp_path):
    state = make_workdir(tmp_path / "run")
    evaluated = open_evaluated_model(str(tmp_path / "run"))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    expected = state.model.features(images)
    np.testing.assert_allclose(
        evaluated.load((16, 16), 7, "float32").features(images), expected, atol=1e-5
    )
    assert evaluated.identity["origin"]["step"] == 2


def test_the_frozen_protocols_take_a_file_of_weights_too(inputs, tmp_path):
    found = {}
    for model in ("random", "random/model.keras"):
        options = config(inputs, tmp_path / model, model=model)
        options.protocols, options.baselines, options.attention_images = ["knn"], [], 0
        found[model] = run_transfer(options).protocols["knn"].model
    assert found["random"] == found["random/model.keras"]
    assert (tmp_path / "random/model.keras" / "evaluated_model" / "export.json").is_file()


def test_settings_that_cannot_be(inputs, tmp_path):
    with pytest.raises(UserError, match=r"batch_size 16 is not divisible by .* accumulate 3"):
        run_transfer(config(inputs, tmp_path, accumulate=3))
    with pytest.raises(UserError, match="there are 64 to train on: choose a smaller"):
        run_transfer(config(inputs, tmp_path, accumulate=99, batch_size=99, learning_rates=[1]))
    with pytest.raises(UserError, match=r"fine_tune\.steps is 0"):
        run_transfer(config(inputs, tmp_path, steps=0))
    with pytest.raises(UserError, match=r"fine_tune\.warmup_steps is -1"):
        run_transfer(config(inputs, tmp_path, warmup_steps=-1))
    with pytest.raises(UserError, match="polyak_decay is 1"):
        run_transfer(config(inputs, tmp_path, polyak_decay=1.5))
    with pytest.raises(UserError, match="does not exist"):
        open_evaluated_model(str(tmp_path / "none.npz"))
    splits = {"train": bars(20, 1), "test": [(i, -1, k) for i, _, k in bars(4, 2)]}
    write_dataset_folder(tmp_path / "unlabeled", splits, ("left", "right"))
    options = config(inputs, tmp_path / "report")
    options.data.source = str(tmp_path / "unlabeled")
    with pytest.raises(UserError, match="label -1 is none of the 2 classes"):
        run_transfer(options)
