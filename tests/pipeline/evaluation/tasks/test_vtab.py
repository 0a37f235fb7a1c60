"""VTAB-1k's facts, and its tasks on generated records of their TFDS features."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from exported_models import export_tiny_vit
from tfds_datasets import write_tfds

from groundwork.errors import UserError
from pipeline.data.dataset.split import read_records
from pipeline.data.images.image_decoding import decode_rgb
from pipeline.evaluation.reports.transfer_result import read_result
from pipeline.evaluation.tasks.task_config import TransferData
from pipeline.evaluation.tasks.vtab import labels
from pipeline.evaluation.tasks.vtab.open_vtab_task import find_tasks, open_vtab_task
from pipeline.evaluation.tasks.vtab.vtab_tasks import TASKS
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer
from pipeline.evaluation.transfer.vtab_suite import group_means

# Stated once more, from the benchmark: task, classes, and where test images come from.
FACTS = {
    "caltech101": 102,
    "cifar100": 100,
    "dtd": 47,
    "flowers102": 102,
    "pets": 37,
    "sun397": 397,
    "svhn": 10,
    "patch_camelyon": 2,
    "eurosat": 10,
    "resisc45": 45,
    "diabetic_retinopathy": 5,
    "clevr_count": 8,
    "clevr_distance": 6,
    "dmlab": 6,
    "dsprites_location": 16,
    "dsprites_orientation": 16,
    "kitti_distance": 4,
    "smallnorb_azimuth": 18,
    "smallnorb_elevation": 9,
}


SIZES = {"train": 20, "validation": 10, "test": 10}


def test_the_table_states_the_benchmark():
    assert {task.name: task.num_classes for task in TASKS} == FACTS
    groups = [task.group for task in TASKS]
    assert [groups.count(group) for group in ("natural", "specialized", "structured")] == [7, 4, 8]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_task_reads_generated_records(task, tmp_path):
    examples = write_tfds(tmp_path, task.tfds_name, SIZES)
    opened = open_vtab_task(task, str(tmp_path))
    total = 0
    for split in opened.splits().values():
        for record in read_records(split.files):
            encoded, label = split.parse(record)
            image = decode_rgb(encoded)
            assert image.shape[-1] == 3 and image.dtype == tf.uint8
            assert label.dtype == tf.int64 and 0 <= int(label) < task.num_classes
            total += 1
    assert total == sum(split.num_examples for split in opened.splits().values())
    first = examples["train"][0]
    encoded, label = opened.train.parse(next(iter(read_records(opened.train.files))))
    scale = 255 if "dsprites" in task.name else 1
    expected = np.broadcast_to(first["image"] * scale, decode_rgb(encoded).shape)
    if (
        tfds.builder(task.tfds_name).info.features["image"].encode_example(first["image"])[1:4]
        == b"PNG"
    ):
        assert np.array_equal(decode_rgb(encoded), expected)
    if "label" in first:
        assert int(label) == first["label"]


def test_derived_labels_by_hand():
    def objects(**columns):
        return {"objects": {name: tf.constant(column) for name, column in columns.items()}}

    assert int(labels.clevr_count(objects(size=[0, 1, 1]))) == 0
    assert int(labels.clevr_count(objects(size=[0] * 10))) == 7
    for depth, expected in [(7.9, 0), (8.1, 1), (8.6, 2), (9.2, 3), (9.7, 4), (11.0, 5)]:
        coordinates = [[0.0, 0.0, 99.0], [0.0, 0.0, depth]]
        assert int(labels.clevr_distance(objects(pixel_coords=coordinates))) == expected

    def kitti(depths, types):
        location = [[0.0, 0.0, depth] for depth in depths]
        return int(labels.kitti_distance(objects(location=location, type=types)))

    assert kitti([5.0, 30.0], [0, 1]) == 0
    assert kitti([5.0, 15.0], [3, 2]) == 1  # a pedestrian is no vehicle
    assert kitti([30.0], [1]) == 2
    assert kitti([5.0], [3]) == 3
    orientation = labels.binned("label_orientation", 40, 16)
    bins = [int(orientation({"label_orientation": tf.constant(i)})) for i in range(40)]
    assert bins == [int(i // 2.5) for i in range(40)]
    position = labels.binned("label_x_position", 32, 16)
    assert [int(position({"label_x_position": tf.constant(i)})) for i in (0, 1, 2, 31)] == [
        0,
        0,
        1,
        15,
    ]


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        # task, split sizes, then train800, val200 and test as (split, first, number)
        (
            "dtd",
            {"train": 900, "validation": 300, "test": 50},
            [("train", 0, 800), ("validation", 0, 200), ("test", 0, 50)],
        ),
        (
            "svhn",
            {"train": 1500, "test": 50},
            [("train", 0, 800), ("train", 1350, 150), ("test", 0, 50)],
        ),
        (
            "eurosat",
            {"train": 1500},
            [("train", 0, 800), ("train", 900, 200), ("train", 1200, 300)],
        ),
        (
            "smallnorb_azimuth",
            {"train": 850, "test": 500},
            [("train", 0, 800), ("test", 0, 200), ("test", 250, 250)],
        ),
    ],
)
def test_carve_outs(name, sizes, expected, tmp_path, monkeypatch):
    # the shards hold one record each, and their description is changed to say more
    monkeypatch.setattr("pipeline.data.dataset.source.check_shards", lambda *_: None)
    (task,) = find_tasks([f"vtab/{name}"])
    write_tfds(tmp_path, task.tfds_name, dict.fromkeys(sizes, 1))
    folder = next(tmp_path.rglob("dataset_info.json")).parent
    info = json.loads((folder / "dataset_info.json").read_text())
    for split in info["splits"]:  # as though the one shard held so many
        split["shardLengths"] = [str(sizes[split["name"]])]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    opened = open_vtab_task(task, str(tmp_path))
    found = [
        (Path(file.path).name.split("-")[1].split(".")[0], file.skip, file.take)
        for split in opened.splits().values()
        for file in split.files
    ]
    assert found == expected
    final = opened.final_split()
    assert final.num_examples == sum(take for _, _, take in expected[:2])


def test_names_of_tasks_and_groups():
    assert len(find_tasks(["vtab"])) == 19
    assert [task.name for task in find_tasks(["vtab/eurosat", "vtab/cifar100"])] == [
        "cifar100",
        "eurosat",
    ]
    assert len(find_tasks(["vtab/natural", "vtab/dtd"])) == 7
    with pytest.raises(
        UserError, match="there is no vtab/imagenet; there are vtab, vtab/caltech101"
    ):
        find_tasks(["vtab/imagenet"])


def test_means_are_over_tasks():
    scores = {"dtd": {"knn": 0.2}, "svhn": {"knn": 0.4}, "eurosat": {"knn": 0.9}}
    assert group_means(scores) == {
        "natural": {"knn": pytest.approx(0.3)},
        "specialized": {"knn": pytest.approx(0.9)},
        "all": {"knn": pytest.approx(0.5)},
    }


def test_suite_runs_what_is_there_and_says_how_to_get_the_rest(tmp_path, capsys):
    export_tiny_vit(tmp_path / "model")
    write_tfds(tmp_path / "tfds", "eurosat/rgb:2.*.*", {"train": 60})
    config = TransferConfig(
        model=str(tmp_path / "model"),
        data=TransferData(data_dir=str(tmp_path / "tfds")),
        output=str(tmp_path / "report"),
        tasks=["vtab/specialized"],
        protocols=["few_shot", "knn"],
        baselines=[],
        attention_images=0,
    )
    summary = run_transfer(config)
    assert list(summary.tasks) == ["eurosat"] and not summary.complete
    assert set(summary.missing) == {"patch_camelyon", "resisc45", "diabetic_retinopathy"}
    task_result = read_result(str(tmp_path / "report" / "eurosat"))
    assert summary.tasks["eurosat"]["knn 20"] == task_result.protocols["knn"].model["20"].mean
    page = (tmp_path / "report" / "report.html").read_text()
    assert "on average over 1 of 19 tasks (few_shot 25)" in page and "tfds build resisc45" in page
    printed = capsys.readouterr().out
    assert "1 of 19 tasks: the means are not those of VTAB" in printed
    assert f"tfds build resisc45 --data_dir {tmp_path}/tfds" in printed
    config.tasks = ["vtab/dtd"]
    with pytest.raises(UserError, match=r"data of no task is there.*tfds build dtd"):
        run_transfer(config)


def test_data_and_tasks_exclude_each_other(tmp_path):
    config = TransferConfig(model="m", data=TransferData(), output=str(tmp_path))
    with pytest.raises(UserError, match=r"either data\.source or tasks"):
        run_transfer(config)
    config.tasks, config.data.source = ["vtab"], "digits"
    with pytest.raises(UserError, match=r"either data\.source or tasks"):
        run_transfer(config)
