"""Opening datasets, and the errors that users meet."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from dataset_folders import encode, write_dataset_folder, write_split
from test_vtab import write_tfds

from groundwork.errors import UserError
from pipeline.data.source import open_source, read_records

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
