"""Extra test sets, on generated records of the TFDS features of ReaL and ImageNet-v2."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from dataset_folders import write_dataset_folder
from exported_models import export_tiny_vit
from tfds_datasets import write_tfds
from transfer_tasks import CLASS_NAMES, config, stripes

from groundwork.errors import UserError
from pipeline.data.dataset.split import read_records
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.protocols.few_shot import FewShot
from pipeline.evaluation.protocols.scores import count_hits, score
from pipeline.evaluation.reports.comparison import compare, comparison_text
from pipeline.evaluation.tasks.extra_tests import open_extra_tests
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer

IMAGENET_CLASSES = tuple(tfds.builder("imagenet_v2").info.features["label"].names)


def answers(split):
    """The classes that are right for each example."""
    parsed = [split.parse(record)[1] for record in read_records(split.files)]
    return [np.flatnonzero(one).tolist() for one in parsed]


def test_hits_are_of_any_label_and_of_labeled_images_alone():
    known = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]], bool)
    assert count_hits(np.array([2, 0, 0, 0]), known) == (2, 3)
    found = score([0.5, 0.7], {}, {"ReaL": [count_hits(np.full(4, c), known) for c in (0, 1)]})
    assert found.extra_tests["ReaL"].accuracies == [2 / 3, 1 / 3]
    assert found.extra_tests["ReaL"].mean == pytest.approx(0.5)
    assert found.extra_tests["ReaL"].std == pytest.approx(np.std([2 / 3, 1 / 3], ddof=1))
    assert found.extra_tests["ReaL"].num_examples == 3


def test_tfds_real_and_v2_are_read_as_they_are(tmp_path):
    real = write_tfds(tmp_path, "imagenet2012_real", {"validation": 6})["validation"]
    v2 = write_tfds(tmp_path, "imagenet_v2/matched-frequency", {"test": 6})["test"]
    tests = [ExtraTest("imagenet2012_real"), ExtraTest("imagenet_v2/matched-frequency", "v2")]
    data = TransferData("imagenet2012", data_dir=str(tmp_path))
    opened, missing = open_extra_tests(tests, data, IMAGENET_CLASSES)
    assert not missing
    assert answers(opened["imagenet2012_real"]) == [sorted(set(one["real_label"])) for one in real]
    assert answers(opened["v2"]) == [[one["label"]] for one in v2]
    backwards, _ = open_extra_tests(tests, data, IMAGENET_CLASSES[::-1])
    assert answers(backwards["v2"]) == [[999 - one["label"]] for one in v2]
    assert backwards["v2"].fingerprint != opened["v2"].fingerprint


def write_validation(folder, keys):
    images = [
        (image, label, key) for (image, label, _), key in zip(stripes(4, 5), keys, strict=True)
    ]
    return write_dataset_folder(folder, {"validation": images}, CLASS_NAMES, num_shards=1)


def test_real_json_goes_by_the_number_in_the_file_name(tmp_path):
    keys = [f"n01/ILSVRC2012_val_0000000{number}.JPEG" for number in (4, 1, 2, 3)]
    write_validation(tmp_path / "val", keys)
    (tmp_path / "real.json").write_text(json.dumps([[0, 2], [], [1], [2]]))
    test = ExtraTest(str(tmp_path / "val"), real_labels=str(tmp_path / "real.json"))
    opened, _ = open_extra_tests([test], TransferData("imagenet"), CLASS_NAMES)
    assert answers(opened[test.source]) == [[2], [0, 2], [], [1]]
    write_validation(tmp_path / "others", ["a", "b", "c", "d"])
    test.source = str(tmp_path / "others")
    with pytest.raises(UserError, match=r"first key is 'a': names such as ILSVRC2012_val_"):
        open_extra_tests([test], TransferData("imagenet"), CLASS_NAMES)
    test.real_labels = str(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"none.json cannot be read .*give real.json"):
        open_extra_tests([test], TransferData("imagenet"), CLASS_NAMES)
    (tmp_path / "none.json").write_text("[[3]]")
    with pytest.raises(UserError, match="labels from 0 to 2 are expected"):
        open_extra_tests([test], TransferData("imagenet"), CLASS_NAMES)


def test_what_is_missing_and_what_does_not_fit(tmp_path):
    data = TransferData("stripes", data_dir=str(tmp_path))
    opened, missing = open_extra_tests([ExtraTest("imagenet_v2", "v2")], data, CLASS_NAMES)
    assert not opened
    assert f"get it with tfds build imagenet_v2 --data_dir {tmp_path}" in missing["v2"]
    write_tfds(tmp_path, "imagenet_v2", {"test": 1})
    with pytest.raises(UserError, match=r"v2: 1000 of its 1000 classes, such as n01440764, are"):
        open_extra_tests([ExtraTest("imagenet_v2", "v2")], data, CLASS_NAMES)
    with pytest.raises(UserError, match="has no class label file_name, nor a sequence of them"):
        open_extra_tests([ExtraTest("imagenet_v2", label_key="file_name")], data, CLASS_NAMES)
    with pytest.raises(UserError, match="extra test v3: v3 is neither a dataset folder"):
        open_extra_tests([ExtraTest("v3")], data, CLASS_NAMES)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extra_tests")
    export_tiny_vit(folder / "model")
    splits = {"train": stripes(60, 1), "test": stripes(40, 2)}
    write_dataset_folder(folder / "stripes", splits, CLASS_NAMES)
    # Two of the classes, in another order, and one image without label.
    examples = [(i, {0: 1, 1: -1, 2: 0}[label], k) for i, label, k in stripes(40, 2)]
    write_dataset_folder(folder / "other", {"test": examples}, ("both", "left"))
    return folder


def test_one_classifier_is_measured_on_all_test_sets(inputs, tmp_path):
    report = tmp_path / "report"
    options = config(
        inputs,
        report,
        protocols=["few_shot", "linear_probe", "knn", "fine_tune"],
        few_shot=FewShot(shots=[5], seeds=[0, 1]),
        fine_tune=FineTuneConfig(
            steps=3, image_size=16, batch_size=16, learning_rates=[0.1], export=False
        ),
        extra_tests=[
            ExtraTest(str(inputs / "stripes"), "same"),
            ExtraTest(str(inputs / "other"), "other"),
            ExtraTest("imagenet_v2/matched-frequency", "v2"),
        ],
        baselines=[],
        attention_images=0,
    )
    options.data.data_dir = str(tmp_path)
    result = run_transfer(options)
    predictions = np.load(report / "predictions.npz")
    labeled = predictions["label"] != 1
    for protocol in options.protocols:
        found = result.protocols[protocol].last
        same, other = found.extra_tests["same"], found.extra_tests["other"]
        assert (same.mean, same.num_examples) == (pytest.approx(found.mean), 40)
        assert other.num_examples == labeled.sum() < 40
        right = (predictions[protocol][0] == predictions["label"])[labeled]
        assert other.accuracies[0] == pytest.approx(right.mean())
    assert result.notes == [
        "extra test v2 is left out: the TFDS dataset imagenet_v2/matched-frequency has not been "
        f"prepared in data_dir {tmp_path}: get it with tfds build imagenet_v2/matched-frequency "
        f"--data_dir {tmp_path}"
    ]
    text = (report / "report.md").read_text()
    assert "|          5 |  5 on same |  5 on other |" in text and "tfds build imagenet_v2" in text
    assert "linear_probe on other" in comparison_text(compare([str(report)]))
    tags = {
        value.tag
        for path in (report / "tensorboard").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert "transfer_few_shot/model/5 on other" in tags
    again = run_transfer(options)
    assert again.protocols["fine_tune"] == result.protocols["fine_tune"]


def test_settings_that_cannot_be(inputs, tmp_path):
    test = ExtraTest(str(inputs / "other"))
    with pytest.raises(UserError, match=r"two are called .*other: give them a name each"):
        run_transfer(config(inputs, tmp_path, extra_tests=[test, test]))
    options = config(inputs, tmp_path, extra_tests=[test], tasks=["vtab"])
    options.data.source = None
    with pytest.raises(UserError, match="extra_tests belong to"):
        run_transfer(options)
    unlabeled = [(image, -1, key) for image, _, key in stripes(4, 2)]
    write_dataset_folder(tmp_path / "unlabeled", {"test": unlabeled}, CLASS_NAMES)
    test = ExtraTest(str(tmp_path / "unlabeled"), "new")
    with pytest.raises(UserError, match="extra test new: none of its 4 images has a label"):
        run_transfer(config(inputs, tmp_path / "report", extra_tests=[test], baselines=[]))
