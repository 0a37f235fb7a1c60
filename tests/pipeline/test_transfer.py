"""Transfer evaluation from command to report."""

import json

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder
from exported_models import export_tiny_vit

from groundwork.errors import UserError
from pipeline import transfer
from pipeline.evaluation.config import TransferConfig, TransferData
from pipeline.evaluation.run import run_transfer
from pipeline.evaluation.task import open_dataset_task
from pipeline.serving.loading import Export

CLASS_NAMES = ("left", "right", "both")


def stripes(count, seed):
    """Images in which one half, the other, or both are bright."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        label = index % 3
        pixels = generator.integers(0, 160, (12, 20, 3), np.uint8)
        if label in (0, 2):
            pixels[:, :10] += 95
        if label in (1, 2):
            pixels[:, 10:] += 95
        yield encode(pixels), label, f"{seed}-{index}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    export_tiny_vit(folder / "model", origin={"step": 40})
    splits = {"train": stripes(90, 1), "test": stripes(60, 2)}
    write_dataset_folder(folder / "stripes", splits, CLASS_NAMES)
    return folder


def config(inputs, output, **options):
    data = TransferData(source=str(inputs / "stripes"))
    return TransferConfig(model=str(inputs / "model"), data=data, output=str(output), **options)


@pytest.fixture(scope="module")
def report(inputs):
    protocols = ["few_shot", "linear_probe", "knn"]
    output = inputs / "report"
    result = run_transfer(config(inputs, output, protocols=protocols, attention_images=3))
    return output, result


def without_time(result):
    return {name: value for name, value in result.items() if name not in ("seconds", "config")}


def test_result_holds_scores_of_the_model_and_its_baselines(report):
    output, result = report
    stored = json.loads((output / "result.json").read_text())
    assert stored == json.loads(json.dumps(result))
    for name in ("model", "untrained", "raw_pixels"):
        by_shots = stored["few_shot"][name]
        assert list(by_shots) == ["1", "5", "10", "25"]
        assert all(0 <= score["mean"] <= 1 for score in by_shots.values())
    assert stored["few_shot"]["raw_pixels"]["25"]["mean"] > 0.8  # the task can be learnt
    assert stored["linear_probe"]["raw_pixels"]["linear_probe"]["mean"] > 0.9
    assert set(stored["knn"]["model"]) == {"1", "5", "20"}
    assert stored["data"]["train_images_per_class"] == [30, 30, 30]
    assert stored["data"]["splits"]["test"]["num_examples"] == 60
    assert stored["model"]["origin"]["step"] == 40
    assert stored["notes"] == []


def test_report_has_table_pictures_predictions_and_events(report):
    output, result = report
    text = (output / "report.md").read_text()
    ten_shots = result["few_shot"]["raw_pixels"]["10"]
    assert f"{100 * ten_shots['mean']:.1f} ± {100 * ten_shots['std']:.1f}" in text
    assert "untrained model" in text
    page = (output / "report.html").read_text()
    pictures = ["accuracy_by_shots", "confusion", "calibration", "attention", "errors"]
    for name in pictures:
        assert tf.io.decode_png((output / f"{name}.png").read_bytes()).shape[0] > 100
        assert f"({name}.png)" in text
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "<td>right</td>" in page and f"{100 * ten_shots['mean']:.1f} ±" in page
    stored = np.load(output / "predictions.npz", allow_pickle=False)
    probe = np.mean(stored["linear_probe"] == stored["label"])
    assert probe == pytest.approx(result["linear_probe"]["model"]["linear_probe"]["mean"])
    tags = set()
    for path in (output / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
            if any(value.tag.startswith("transfer") for value in event.summary.value):
                assert event.step == 40
    assert {"transfer/report", "transfer/errors", "transfer_few_shot/model/10"} <= tags
    assert any("hparams" in tag for tag in tags)


def test_analysis_is_of_the_linear_probe(report):
    output, result = report
    found = result["analysis"]
    assert (found["protocol"], found["setting"]) == ("linear_probe", "linear_probe")
    stored = np.load(output / "predictions.npz", allow_pickle=False)
    of_class = {
        name: np.mean(stored["linear_probe"][stored["label"] == i] == i)
        for i, name in enumerate(CLASS_NAMES)
    }
    worst = {one["name"]: one["accuracy"] for one in found["worst_classes"]}
    assert worst == pytest.approx(of_class)
    assert 0 <= found["expected_calibration_error"] <= 1


def test_again_gives_the_same_numbers_from_the_cache_without_the_model(
    inputs, report, tmp_path, monkeypatch
):
    output, first = report

    def unexpected(*_):
        raise AssertionError("features should come from the cache")

    monkeypatch.setattr(Export, "features", unexpected)
    options = {"protocols": ["few_shot", "linear_probe", "knn"], "cache": str(output / "features")}
    again = run_transfer(config(inputs, tmp_path, attention_images=0, **options))
    assert without_time(again) == without_time(first)


def test_a_probe_that_did_not_converge_is_noted(inputs, report, tmp_path):
    short = config(inputs, tmp_path, protocols=["linear_probe"], baselines=[], attention_images=0)
    short.cache = str(report[0] / "features")
    short.linear_probe.max_iterations = 2
    (note,) = run_transfer(short)["notes"]
    assert note.startswith("linear probe of model: not converged after 2 iterations")


def test_again_without_the_cache_gives_the_same_numbers(inputs, report, tmp_path):
    again = run_transfer(config(inputs, tmp_path, batch_size=7, attention_images=0))
    for name, by_shots in report[1]["few_shot"].items():
        for shots, score in by_shots.items():
            assert again["few_shot"][name][shots]["mean"] == pytest.approx(score["mean"], abs=0.02)
    same = run_transfer(config(inputs, tmp_path / "2", batch_size=7, attention_images=0))
    assert same["few_shot"] == again["few_shot"]


def test_classes_with_fewer_images_are_named(inputs, tmp_path):
    few = [one for one in stripes(60, 3) if one[1] != 1 or one[2] in ("3-1", "3-4")]
    splits = {"train": few, "test": stripes(9, 4)}
    write_dataset_folder(tmp_path / "few", splits, CLASS_NAMES)
    options = config(inputs, tmp_path / "report", attention_images=0, baselines=[])
    options.data.source = str(tmp_path / "few")
    result = run_transfer(options)
    assert result["notes"] == [
        f"{k} shots: all images were taken of the classes that have fewer: {names}"
        for k, names in [
            (5, "right (2)"),
            (10, "right (2)"),
            (25, "left (20), right (2), both (20)"),
        ]
    ]


def test_without_test_split_the_validation_split_is_measured_on(tmp_path):
    """`build_dataset` writes train and validation where it is told no more."""
    folder = tmp_path / "stripes"
    splits = {"train": stripes(30, 1), "validation": stripes(20, 2)}
    write_dataset_folder(folder, splits, CLASS_NAMES)
    assert open_dataset_task(TransferData(source=str(folder))).test.name == "validation"
    with pytest.raises(UserError, match="no split test"):
        open_dataset_task(TransferData(source=str(folder), test_split="test"))


def test_unlabelled_split_is_refused(inputs, tmp_path):
    splits = {"train": stripes(9, 1), "test": [(i, -1, k) for i, _, k in stripes(4, 2)]}
    write_dataset_folder(tmp_path / "d", splits, CLASS_NAMES)
    options = config(inputs, tmp_path / "report")
    options.data.source = str(tmp_path / "d")
    with pytest.raises(UserError, match="split test has examples without label"):
        run_transfer(options)
    assert not (tmp_path / "report" / "result.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("protocols", [], "protocols is empty"),
        ("batch_size", 0, "batch_size is"),
        ("few_shot.shots", [0, 5], "few_shot.shots is"),
        ("few_shot.seeds", [], "few_shot.seeds is empty"),
        ("fine_tune.steps", 0, "fine_tune.steps is"),
        ("fine_tune.warmup_steps", -1, "fine_tune.warmup_steps is -1"),
        ("model", "/nowhere/model", "model folder /nowhere/model does not exist"),
        ("data.test_split", "exam", "no split exam"),
    ],
)
def test_settings_that_cannot_be(inputs, tmp_path, field, value, message):
    options = config(inputs, tmp_path / "report")
    *parents, name = field.split(".")
    owner = options
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, value)
    with pytest.raises(UserError, match=message):
        run_transfer(options)


def test_command_line_reaches_the_options(monkeypatch):
    arguments = ["--model", "m", "--data.source", "d", "--output", "o", "--few_shot.shots", "[3]"]
    seen: list[TransferConfig] = []
    monkeypatch.setattr("sys.argv", ["transfer", *arguments])
    monkeypatch.setattr("pipeline.evaluation.run.run_transfer", seen.append)
    assert transfer.main() == 0
    assert seen == [TransferConfig("m", TransferData("d"), "o", few_shot=seen[0].few_shot)]
    assert seen[0].few_shot.shots == [3]
