"""Fine-tuning from a folder of images: the plan, the runs, what comes out, and resuming."""

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from dataset_folders import encode, write_dataset_folder
from exported_models import tiny_vit
from finished_runs import assert_bitwise_equal, checkpoint_values, rows, stop_at

import vit_keras
from groundwork.errors import UserError
from pipeline.data.dataset.class_counts import count_classes
from pipeline.data.dataset.held_out import hold_out
from pipeline.data.dataset.source import open_source
from pipeline.evaluation.features.feature_set import FeatureSet
from pipeline.evaluation.protocols.label_errors import held_out_probabilities, likely_label_errors
from pipeline.finetuning.finetune_config import FinetuneConfig, FinetuneData
from pipeline.finetuning.finetune_dataset import prepared_dataset
from pipeline.finetuning.finetune_run import finetune
from pipeline.serving.loading import open_export
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.model.partial_training import merged, train_partially
from pipeline.workdir.trained_model import load_trained_model

NAMES = ("left", "right", "rare")


def bars(count):
    """Images with a bright left or right half, labels 0 and 1; label 2, gray, twice."""
    generator = np.random.default_rng(0)
    for index in range(count):
        pixels = generator.integers(0, 60, (24, 24, 3), np.uint8)
        label = 2 if index < 2 else index % 2
        pixels[:, :12] += 150 * np.uint8(label != 0)
        pixels[:, 12:] += 150 * np.uint8(label != 1)
        yield encode(pixels), label, f"{NAMES[label]}/{index}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    write_dataset_folder(folder / "bars", {"train": bars(82)}, NAMES)
    tiny_vit((16, 16), num_classes=5, num_layers=2, classifier="gap").save(folder / "start.keras")
    return folder


def options(inputs, output, **changes):
    chosen = {
        "model": str(inputs / "start.keras"),
        "data": FinetuneData(source=str(inputs / "bars"), flip=False),
        "output": str(output),
        "epochs": 20,
        "batch_size": 16,
        "learning_rates": [5e-3],
        "attention_images": 2,
    }
    return FinetuneConfig(**(chosen | changes))


def fine_tune(config):
    config.check()
    return finetune(config, config.data.source)


@pytest.fixture(scope="module")
def done(inputs):
    """A sweep of two rates, of which the first learns nothing."""
    config = options(inputs, inputs / "done", learning_rates=[1e-7, 5e-3])
    assert fine_tune(config) == 0
    return config


def run_folder(config, rate="0.005"):
    return f"{config.output}/runs/rate_{rate}"


def test_the_better_rate_comes_out_as_an_export_that_knows_the_classes(done):
    export = open_export(f"{done.output}/export")
    assert export.description.class_names == NAMES
    assert export.description.origin["workdir"] == run_folder(done)
    images = [encoded for encoded, _, _ in bars(20)]
    labels = [label for _, label, _ in bars(20)]
    probabilities, valid = export.probabilities([*images, b"no image"])
    assert valid.tolist() == [True] * 20 + [False]
    assert np.mean(probabilities[:20].argmax(axis=1) == labels) >= 0.8


def test_the_report_tells_accuracy_curves_and_label_errors(done):
    report = Path(done.output, "report")
    result = json.loads((report / "result.json").read_text())
    assert result["protocols"]["fine_tune"]["scores"]["model"]["fine_tune"]["mean"] >= 0.8
    assert result["data"]["splits"]["test"]["num_examples"] == 9
    assert any("chosen on the images that the accuracy is of" in note for note in result["notes"])
    assert " held-out images are right" in result["verdict"]
    page = (report / "report.html").read_text()
    for told in ("Curves", "Likely label errors", "Calibration", "Attention"):
        assert told in page
    with (report / "label_errors.csv").open() as file:
        header = next(csv.reader(file))
    assert header == ["key", "label", "rather", "probability", "probability_of_label"]


def test_a_finished_one_trains_no_more_and_other_options_are_refused(done, without_report):
    step = rows(run_folder(done))[-1]["step"]
    before = checkpoint_values(run_folder(done), step)
    assert fine_tune(done) == 0
    assert_bitwise_equal(checkpoint_values(run_folder(done), step), before)
    with pytest.raises(UserError, match=r"with other options \(epochs was 20.0\): give those"):
        fine_tune(replace(done, epochs=3))


@pytest.fixture
def without_report(monkeypatch):
    monkeypatch.setattr("pipeline.finetuning.finetune_run._finish", lambda *_: None)


def test_a_stopped_one_ends_as_one_that_was_not(inputs, tmp_path, monkeypatch, without_report):
    """With the head first, LoRA, an early stop, and a best checkpoint that a kill took."""
    whole = options(inputs, tmp_path / "a", train="lora", probe_epochs=1, epochs=9, patience=1)
    assert fine_tune(whole) == 0
    stopped = replace(whole, output=str(tmp_path / "b"))
    with monkeypatch.context() as patch:
        stop_at(patch, 4, signal.SIGTERM)  # where the head has learned alone
        assert fine_tune(stopped) == 143
    start = weights(keras.saving.load_model(inputs / "start.keras"))
    after = weights(load_trained_model(run_folder(stopped)).model)
    assert [path for path in after if not np.array_equal(after[path], start.get(path))] == [
        path for path in after if "/head/" in path
    ]
    with monkeypatch.context() as patch:
        stop_at(patch, 11, signal.SIGTERM)
        assert fine_tune(stopped) == 143
    assert fine_tune(stopped) == 0
    ends = [rows(run_folder(config))[-1]["step"] for config in (whole, stopped)]
    assert ends[0] == ends[1]
    found, expected = (
        checkpoint_values(run_folder(config), ends[0]) for config in (stopped, whole)
    )
    assert_bitwise_equal(found, expected)
    best = [Path(run_folder(config), "best_checkpoint") for config in (whole, stopped)]
    assert [path.name for path in sorted(best[0].iterdir())] == [
        path.name for path in sorted(best[1].iterdir())
    ]


def weights(model):
    return {weight.path: np.asarray(weight) for weight in model.weights}


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({"lora_rank": 2}, ("/lora_kernel_", "/head/")),
        ({"frozen_blocks": 2}, ("/head/",)),
        ({"frozen_blocks": 1}, ("/block_1/", "/encoder_norm/", "/head/")),
    ],
    ids=["lora", "head", "frozen"],
)
def test_what_is_trained(changes, trained):
    model = tiny_vit(num_layers=2)
    train_partially(model, ModelConfig(**changes))
    found = {weight.path for weight in model.trainable_variables}
    assert found == {w.path for w in model.weights if any(part in w.path for part in trained)}


def test_lora_is_merged_exactly():
    model = tiny_vit(num_layers=2)
    images = np.random.default_rng(0).uniform(-1, 1, (2, *model.image_size, 3)).astype("float32")
    before = np.asarray(model(images))
    train_partially(model, ModelConfig(lora_rank=2))
    np.testing.assert_array_equal(np.asarray(model(images)), before)  # LoRA starts at nothing
    generator = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(generator.normal(0, 0.3, weight.shape))
    plain = merged(model)
    assert not [weight.path for weight in plain.weights if "lora" in weight.path]
    expected = np.asarray(model(images))
    np.testing.assert_allclose(np.asarray(plain(images)), expected, rtol=0, atol=1e-5)
    assert np.abs(expected - before).max() > 0.1


def test_each_class_is_held_out_alike(inputs):
    split = open_source(str(inputs / "bars")).split("train")
    left, out = hold_out(split, 0.2, 3)
    assert count_classes(out, 3) == [8, 8, 1]
    assert count_classes(left, 3) == [32, 32, 1]
    assert len(left.files) < 40  # runs of records, not each alone
    again, _ = hold_out(split, 0.2, 3)
    assert again.fingerprint == left.fingerprint


def test_wrong_labels_are_found():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    features = np.eye(3)[labels] * 4 + generator.normal(0, 0.5, (120, 3))
    wrong = [3, 50, 100]
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 3
    examples = FeatureSet(features.astype(np.float32), given)
    found = likely_label_errors(given, held_out_probabilities(examples, 3))
    assert sorted(error.index for error in found) == wrong
    assert all(error.other == labels[error.index] for error in found)


def test_a_folder_of_images_becomes_a_dataset(inputs, tmp_path):
    for encoded, _, key in bars(12):
        path = tmp_path / "photos" / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    config = options(inputs, tmp_path / "out")
    config.data.source = str(tmp_path / "photos")
    dataset = prepared_dataset(config, workers=1)
    assert open_source(dataset).split("train").num_examples == 12
    assert prepared_dataset(replace(config, data=FinetuneData(source=dataset)), 1) == dataset
    with pytest.raises(UserError, match="does not exist"):
        prepared_dataset(replace(config, data=FinetuneData(source="./nowhere")), 1)


def test_preflight_trains_nothing(inputs, tmp_path, capsys):
    assert fine_tune(options(inputs, tmp_path / "out", preflight=True)) == 0
    told = capsys.readouterr().out
    assert "16×16 pixels" in told
    assert "memory" in told
    assert not Path(tmp_path, "out", "runs").exists()


def test_options_that_cannot_be(inputs, tmp_path):
    for changes, message in (
        ({"learning_rates": []}, "learning_rates: give one or more"),
        ({"patience": 0}, "patience is 0"),
        ({"train": "head", "frozen_blocks": 1}, "frozen_blocks is for --train all, not for head"),
        ({"frozen_blocks": 9}, r"model.frozen_blocks is 9, and the model has 2 encoder blocks"),
    ):
        with pytest.raises(UserError, match=message):
            fine_tune(options(inputs, tmp_path / "out", **changes))
    resnet = vit_keras.create_model(
        "BiT-R50x1", image_size=32, num_classes=2, units=[1], width_factor=0.5
    )
    resnet.save(tmp_path / "resnet.keras")
    with pytest.raises(UserError, match="train head: this model is no ViT"):
        fine_tune(
            options(inputs, tmp_path / "r", model=str(tmp_path / "resnet.keras"), train="head")
        )
