"""Transfer evaluation from command to report."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import write_dataset_folder
from exported_models import export_tiny_vit
from transfer_tasks import CLASS_NAMES, config, stripes

from groundwork.errors import UserError
from pipeline import transfer
from pipeline.evaluation.reports.transfer_result import read_result
from pipeline.evaluation.tasks.task import open_dataset_task
from pipeline.evaluation.tasks.task_config import TransferData
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer
from pipeline.serving.loading import Export


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    export_tiny_vit(folder / "model", origin={"step": 40})
    splits = {"train": stripes(90, 1), "test": stripes(60, 2)}
    write_dataset_folder(folder / "stripes", splits, CLASS_NAMES)
    return folder


@pytest.fixture(scope="module")
def report(inputs):
    protocols = ["few_shot", "linear_probe", "knn"]
    output = inputs / "report"
    result = run_transfer(config(inputs, output, protocols=protocols, attention_images=3))
    return output, result


def without_time(result):
    return replace(result, seconds=0.0, config={})


def test_result_holds_scores_of_the_model_and_its_baselines(report):
    output, result = report
    stored = read_result(str(output))
    assert stored == result
    assert list(stored.protocols) == ["knn", "few_shot", "linear_probe"]
    few_shot = stored.protocols["few_shot"].scores
    assert list(few_shot) == ["model", "model_paper", "untrained", "raw_pixels"]
    for by_shots in few_shot.values():
        assert list(by_shots) == ["1", "5", "10", "25"]
        assert all(0 <= score.mean <= 1 for score in by_shots.values())
    assert few_shot["raw_pixels"]["25"].mean > 0.8  # the task can be learned
    assert few_shot["model_paper"]["25"].chosen == {"l2": 1024.0}
    assert stored.protocols["linear_probe"].scores["raw_pixels"]["linear_probe"].mean > 0.9
    assert set(stored.protocols["knn"].model) == {"1", "5", "20"}
    assert stored.data.train_images_per_class == [30, 30, 30]
    assert stored.data.test.num_examples == 60
    assert stored.model["origin"]["step"] == 40
    (note,) = stored.notes  # of a model that was never trained
    assert "no better than the untrained model and raw pixels" in note


def test_report_has_verdict_table_pictures_and_events(report):
    output, result = report
    text = (output / "report.md").read_text()
    ten_shots = result.protocols["few_shot"].scores["raw_pixels"]["10"]
    assert f"{100 * ten_shots.mean:.1f} ± {100 * ten_shots.std:.1f}" in text
    assert "untrained model" in text and "model, the paper's L2 of 1024" in text
    assert "of 60 test images are right, which is " in text
    assert "raw pixels" in result.verdict and "the untrained model" in result.verdict
    page = (output / "report.html").read_text()
    pictures = ["accuracy_by_shots", "confusion", "calibration", "attention", "errors"]
    for name in pictures:
        assert tf.io.decode_png((output / f"{name}.png").read_bytes()).shape[0] > 100
        assert f"({name}.png)" in text
    assert page.count("data:image/png;base64,") == len(pictures)
    wrong = round(60 * (1 - result.protocols["linear_probe"].last.mean))
    assert page.count("data:image/jpeg;base64,") == wrong
    tags = set()
    for path in (output / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
            if any(value.tag.startswith("transfer") for value in event.summary.value):
                assert event.step == 40
    assert {"transfer/report", "transfer/errors", "transfer_few_shot/model/10"} <= tags
    assert any("hparams" in tag for tag in tags)


def test_predictions_have_keys_probabilities_and_every_seed(report):
    output, result = report
    stored = np.load(output / "predictions.npz", allow_pickle=False)
    assert sorted(stored["key"]) == sorted(key for _, _, key in stripes(60, 2))
    by_key = {key: label for _, label, key in stripes(60, 2)}
    assert [by_key[key] for key in stored["key"]] == stored["label"].tolist()
    for name, protocol in result.protocols.items():
        hits = np.mean(stored[name] == stored["label"], axis=1)
        assert hits.tolist() == pytest.approx(protocol.last.accuracies)
        probabilities = stored[f"{name}_probabilities"].astype(float)
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(60), abs=2e-3)
    probe = stored["linear_probe_probabilities"].argmax(axis=1)
    assert np.mean(probe == stored["linear_probe"][0]) > 0.95


def test_analysis_is_of_the_linear_probe(report):
    output, result = report
    found = result.analysis
    assert (found.protocol, found.setting) == ("linear_probe", "linear_probe")
    stored = np.load(output / "predictions.npz", allow_pickle=False)
    of_class = {
        name: np.mean(stored["linear_probe"][0][stored["label"] == i] == i)
        for i, name in enumerate(CLASS_NAMES)
    }
    assert {one.name: one.recall for one in found.classes} == pytest.approx(of_class)
    assert found.macro_recall == pytest.approx(np.mean(list(of_class.values())))
    assert 0 <= found.expected_calibration_error <= 1
    probe = result.protocols["linear_probe"].scores
    contrast = next(
        one
        for one in found.contrasts
        if (one.protocol, one.baseline) == ("linear_probe", "raw_pixels")
    )
    expected = probe["model"]["linear_probe"].mean - probe["raw_pixels"]["linear_probe"].mean
    assert contrast.difference == pytest.approx(expected)


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
    (note,) = run_transfer(short).notes
    assert note.startswith("linear_probe: not converged after 2 iterations")


def test_again_without_the_cache_gives_the_same_numbers(inputs, report, tmp_path):
    again = run_transfer(config(inputs, tmp_path, batch_size=7, attention_images=0))
    scores = again.protocols["few_shot"].scores
    for name, by_shots in report[1].protocols["few_shot"].scores.items():
        for shots, score in by_shots.items():
            assert scores[name][shots].mean == pytest.approx(score.mean, abs=0.02)
    same = run_transfer(config(inputs, tmp_path / "2", batch_size=7, attention_images=0))
    assert same.protocols == again.protocols


def test_classes_with_fewer_images_are_named(inputs, tmp_path):
    few = [one for one in stripes(60, 3) if one[1] != 1 or one[2] in ("3-1", "3-4")]
    splits = {"train": few, "test": stripes(9, 4)}
    write_dataset_folder(tmp_path / "few", splits, CLASS_NAMES)
    options = config(inputs, tmp_path / "report", attention_images=0, baselines=[])
    options.data.source = str(tmp_path / "few")
    result = run_transfer(options)
    assert result.notes == [
        f"few_shot: {k} shots: all images were taken of the classes that have fewer: {names}"
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


def test_unlabeled_split_is_refused(inputs, tmp_path):
    splits = {"train": stripes(9, 1), "test": [(i, -1, k) for i, _, k in stripes(4, 2)]}
    write_dataset_folder(tmp_path / "d", splits, CLASS_NAMES)
    options = config(inputs, tmp_path / "report")
    options.data.source = str(tmp_path / "d")
    with pytest.raises(UserError, match="label -1 is none of the"):
        run_transfer(options)
    assert not (tmp_path / "report" / "result.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("protocols", [], "protocols is empty: name at least one of knn, few_shot"),
        ("protocols", ["kNN"], "there is no kNN; there are knn, few_shot, linear_probe, fine_tune"),
        ("batch_size", 0, "batch_size is"),
        ("few_shot.shots", [0, 5], "few_shot.shots is .*such as --few_shot.shots 5"),
        ("few_shot.seeds", [], "few_shot.seeds is empty"),
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


def test_an_output_that_cannot_be_written_is_found_before_the_work(inputs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/report .*another --output"):
        run_transfer(config(inputs, tmp_path / "file" / "report"))
    with pytest.raises(UserError, match=r"cannot write .*file/cache .*another --cache"):
        run_transfer(config(inputs, tmp_path / "r", cache=str(tmp_path / "file" / "cache")))


def test_command_line_reaches_the_options(monkeypatch):
    arguments = ["--model", "m", "--data.source", "d", "--output", "o", "--few_shot.shots", "[3]"]
    seen: list[TransferConfig] = []
    monkeypatch.setattr("sys.argv", ["transfer", *arguments])
    monkeypatch.setattr(
        "pipeline.evaluation.transfer.transfer_evaluation.run_transfer", seen.append
    )
    assert transfer.main() == 0
    assert seen == [TransferConfig("m", TransferData("d"), "o", few_shot=seen[0].few_shot)]
    assert seen[0].few_shot.shots == [3]
