"""Opening datasets, and the errors that users meet."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from dataset_folders import encode, write_dataset_folder, write_split
from tfds_datasets import write_tfds

from groundwork.errors import UserError
from pipeline.data.dataset.source import open_source
from pipeline.data.dataset.split import FileRange, read_records

CLASSES = ("ant", "bée", "猫")


def example(index: int) -> tuple[bytes, int, str]:
    return encode(np.full((4, 5, 3), index, np.uint8)), index % 3, f"k{index}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset_folder(
        tmp_path_factory.mktemp("data") / "small",
        {"train": [example(i) for i in range(10)], "test": [example(i) for i in range(10, 13)]},
        CLASSES,
    )


def read(split):
    records = read_records(split.files)
    parsed = [(*split.parse(record), split.parse_key(record)) for record in records]
    return [(image.numpy(), int(label), key.numpy().decode()) for image, label, key in parsed]


def test_a_folder_gives_its_examples_class_names_and_splits(folder):
    source = open_source(str(folder))
    assert source.class_names == CLASSES
    assert source.split_names == ("test", "train")
    split = source.split("train")
    assert split.num_examples == 10
    assert sorted(read(split)) == sorted(example(i) for i in range(10))


@pytest.mark.parametrize("name", ["train[3:8]", "train[:20%]", "train[1:2]+test", "train+test"])
def test_slices_are_those_of_tfds(folder, name):
    expected = tfds.builder_from_directory(folder).as_dataset(split=name, shuffle_files=False)
    expected_keys = [example["key"].decode() for example in tfds.as_numpy(expected)]
    split = open_source(str(folder)).split(name)
    assert [key for _, _, key in read(split)] == expected_keys
    assert split.num_examples == len(expected_keys)


def test_select_picks_examples_of_a_slice(folder):
    split = open_source(str(folder)).split("train[2:9]")
    keys = [key for _, _, key in read(split)]
    chosen = split.select([6, 0, 3, 4])
    assert [key for _, _, key in read(chosen)] == [keys[i] for i in (6, 0, 3, 4)]
    assert chosen.num_examples == 4
    joined = split.slice(5, 7).joined(split.slice(0, 2))
    assert [key for _, _, key in read(joined)] == [keys[i] for i in (5, 6, 0, 1)]
    assert split.slice(3, 3).num_examples == 0
    assert chosen.fingerprint not in (split.fingerprint, split.select([0]).fingerprint)


def test_fingerprints_tell_data_and_slices_apart(folder, tmp_path):
    source = open_source(str(folder))
    splits = [source.split(name).fingerprint for name in ("train", "test", "train[:5]")]
    assert len(set(splits)) == 3
    assert open_source(str(folder)).split("train").fingerprint == splits[0]
    other = write_dataset_folder(tmp_path / "small", {"train": [example(1)]}, CLASSES)
    assert open_source(str(other)).fingerprint != source.fingerprint


def error_of(source, *args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        open_source(source, *args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_split_names_those_that_exist(folder):
    source = open_source(str(folder))
    for name in ("validation", "validation[:50%]", "train[:x]"):
        with pytest.raises(UserError, match="its splits: test, train"):
            source.split(name)
    with pytest.raises(UserError, match="is empty"):
        source.split("train[:0]")


def test_missing_and_foreign_folders_say_what_to_run(folder, tmp_path):
    assert "beam_jobs.build_dataset" in error_of(str(tmp_path / "none"))
    assert "neither a dataset folder" in error_of("datasets/photos")
    assert "cifar100" in error_of("cifar1000")
    assert "only: 3." in error_of("cifar100:1.0.0")
    (tmp_path / "empty").mkdir()
    assert "is empty" in error_of(str(tmp_path / "empty"))
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    assert "--input" in error_of(str(tmp_path / "photos"))
    assert f"did you mean {folder.parent}/{folder.name}" in error_of(str(folder.parent))


def test_a_dataset_not_prepared_is_not_downloaded_when_told_so(tmp_path):
    assert "has not been prepared" in error_of("cifar100", str(tmp_path), download=False)


def test_a_prepared_dataset_is_opened_by_its_tfds_name(tmp_path):
    examples = write_tfds(tmp_path, "cifar10", {"train": 3})["train"]
    source = open_source("cifar10", str(tmp_path), download=False)
    assert source.num_classes == 10
    assert [label for _, label, _ in read(source.split("train"))] == [
        example["label"] for example in examples
    ]


def test_unfinished_folder_is_refused_until_its_marker_is_there(tmp_path):
    folder = write_dataset_folder(tmp_path / "small", {"train": [example(0)]}, CLASSES, 1)
    (folder / "job.json").write_text("{}")
    assert "not complete" in error_of(str(folder))
    (folder / "COMPLETED").touch()
    assert open_source(str(folder)).split("train").num_examples == 1


def test_missing_shard_and_damaged_description(tmp_path):
    folder = write_dataset_folder(tmp_path / "small", {"train": [example(0), example(1)]}, CLASSES)
    shard = next(folder.glob("*-00001-of-00002"))
    shard.unlink()
    with pytest.raises(UserError, match=f"missing.*{shard.name}"):
        open_source(str(folder)).split("train")
    (folder / "dataset_info.json").write_text("{")
    assert "cannot read" in error_of(str(folder))


@pytest.mark.parametrize("cut", ["empty", "record", "half a record", "one too many"])
def test_a_shard_that_does_not_hold_its_records_is_named(tmp_path, cut):
    folder = write_dataset_folder(
        tmp_path / "small", {"train": [example(i) for i in range(8)], "test": [example(9)]}, CLASSES
    )
    open_source(str(folder)).split("train[:50%]")
    shard = next(folder.glob("*train*-00001-of-00002"))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    kept = {"empty": [], "record": records[:3], "one too many": [*records, records[0]]}
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in kept.get(cut, records):
            writer.write(record)
    if cut == "half a record":
        shard.write_bytes(shard.read_bytes()[:-5])
    found = {"empty": 0, "one too many": 5}.get(cut, 3)
    with pytest.raises(UserError, match=rf"{shard.name} holds {found} whole records .* counts 4: "):
        open_source(str(folder)).split("train[:50%]")
    open_source(str(folder)).split("test")


def test_a_reader_stops_where_a_file_falls_short(folder):
    """As it may become while a run reads it."""
    (path, _, take), *_ = open_source(str(folder)).split("train").files
    assert len(list(read_records((FileRange(path, 1, take - 1),)))) == take - 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="ends before its last records"):
        list(read_records((FileRange(path, 1, take),)))


def test_class_names_count_for_the_fingerprint(folder, tmp_path):
    splits = {"train": [example(i) for i in range(10)]}
    one = write_dataset_folder(tmp_path / "a" / "small", splits, CLASSES)
    other = write_dataset_folder(tmp_path / "b" / "small", splits, CLASSES[::-1])
    same = write_dataset_folder(tmp_path / "c" / "small", splits, CLASSES)
    fingerprints = [open_source(str(path)).fingerprint for path in (one, other, same)]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_dataset_cannot_name_a_module_to_import(folder, tmp_path, monkeypatch, key):
    copy = tmp_path / "tfds" / "cifar10" / "3.0.2"
    shutil.copytree(folder, copy)
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    features = json.loads((copy / "features.json").read_text())
    features["featuresDict"]["features"]["key"] = {key: "evil.Feature"}
    (copy / "features.json").write_text(json.dumps(features))
    assert "asks for the Python class evil.Feature" in error_of(str(copy))
    assert "asks for the Python class evil.Feature" in error_of("cifar10", str(tmp_path / "tfds"))
    assert not (tmp_path / "ran").exists()


def test_features_of_another_name_or_kind(folder, tmp_path):
    assert "image (Image), key (Text), label (ClassLabel)" in error_of(
        str(folder), image_key="picture"
    )
    assert "label_key" in error_of(str(folder), label_key="key")
    features = tfds.features.FeaturesDict(
        {
            "picture": tfds.features.Image(shape=(None, None, 3)),
            "kind": tfds.features.ClassLabel(names=list(CLASSES)),
        }
    )
    other = tmp_path / "small"
    other.mkdir()
    image, label, _ = example(2)
    info = write_split(other, features, "train", [{"picture": image, "kind": label}], 1)
    tfds.folder_dataset.write_metadata(data_dir=other, features=features, split_infos=[info])
    source = open_source(str(other), image_key="picture", label_key="kind")
    assert read(source.split("train")) == [(image, label, "")]


def test_only_tfrecord_is_read(folder, tmp_path):
    copy = tmp_path / "small"
    copy.mkdir()
    for path in folder.glob("*.json"):
        text = path.read_text().replace('"tfrecord"', '"array_record"')
        (copy / path.name).write_text(text)
    assert "only TFRecord is read" in error_of(str(copy))
