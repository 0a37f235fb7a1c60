import itertools
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from beam_corpus import (
    build,
    class_names,
    contents,
    encoded,
    examples,
    make_folder,
    picture,
    pixels,
    rejected,
)
from PIL import Image

from beam_jobs import build_dataset
from beam_jobs.corpus import splits
from groundwork.errors import JobError, UserError
from pipeline.data.dataset.record_index import index_paths, record_offsets

CLASSES = ["class_0", "class_1", "class_2"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "dataset"
    build(corpus, folder, "--shards", "3", "--splits", "train:0.7,test:0.3")
    return folder


def test_the_indexes_say_where_the_records_begin(dataset):
    """The folder that `pipeline` looks into, and what it would find by itself."""
    paths = sorted(dataset.glob("*.tfrecord-*"))
    assert len(paths) == 6
    for path in paths:
        index = index_paths([str(path)])[str(path)]
        assert index == str(dataset / "index" / f"{path.name}.index")
        assert Path(index).read_bytes() == record_offsets(str(path)).astype("<i8").tobytes()


def test_holds_what_a_plain_program_says(corpus, dataset):
    shares = {"train": 0.7, "test": 0.3}
    expected = {}
    for path in corpus.rglob("*.jpg"):
        key = path.relative_to(corpus).as_posix()
        label = CLASSES.index(key.split("/")[0])
        expected[key] = (path.read_bytes(), (label,), splits.split_of(key, shares))
    found = {
        example.key: (example.image, example.labels, split)
        for split in shares
        for example in examples(dataset, split)
    }
    assert found == expected
    assert class_names(dataset) == CLASSES


def test_tfds_and_tensorflow_read_it(corpus, dataset):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(dataset)
    assert builder.info.features["label"].names == ["class_0", "class_1", "class_2"]
    assert builder.info.splits["train"].num_examples == len(examples(dataset, "train"))
    for split in ("train", "test"):
        rows = list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))
        stored = examples(dataset, split)
        assert [row["key"].decode() for row in rows] == [example.key for example in stored]
        assert [(row["label"],) for row in rows] == [example.labels for example in stored]
        assert all(row["image"].shape == (20, 30, 3) for row in rows)
    assert len(list(builder.as_dataset(split="train[:5]"))) == 5


def test_the_order_is_shuffled(tmp_path):
    build(make_folder(tmp_path / "in", classes=4, per_class=50), tmp_path / "out")
    labels = [example.labels[0] for example in examples(tmp_path / "out")]
    repeats = sum(a == b for a, b in itertools.pairwise(labels))
    assert repeats < len(labels) / 2  # by class it would be nearly all of them


def test_bytes_do_not_depend_on_the_workers(corpus, dataset, tmp_path):
    arguments = ["--input", str(corpus), "--shards", "3", "--splits", "train:0.7,test:0.3"]
    build_dataset.main([*arguments, "--output", str(tmp_path / "d"), "--workers", "4"])
    assert contents(tmp_path / "d") == contents(dataset)


def test_a_complete_dataset_is_left_alone(corpus, dataset, capsys):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    build(corpus, dataset, "--shards", "3", "--splits", "train:0.7,test:0.3")
    assert "complete already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_only_missing_shards_are_written(corpus, dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    lost = copy / "images-train.tfrecord-00001-of-00003"
    lost.unlink()
    for name in ("COMPLETED", "dataset_info.json"):
        (copy / name).unlink()
    for place in (copy, copy / "manifests"):
        (place / ".incomplete-of-a-killed-job").write_bytes(b"half a file")
    kept = copy / "images-train.tfrecord-00002-of-00003"
    before = kept.stat().st_mtime_ns
    build(corpus, copy, "--shards", "3", "--splits", "train:0.7,test:0.3")
    assert contents(copy) == contents(dataset)
    assert kept.stat().st_mtime_ns == before


def test_a_shard_is_written_anew_when_its_images_change(tmp_path):
    corpus = make_folder(tmp_path / "in")
    for output in ("d", "fresh"):
        if output == "fresh":
            (corpus / "class_1" / "image 1.jpg").write_bytes(encoded(picture(99, (60, 60))))
            (tmp_path / "d" / "COMPLETED").unlink()
            build(corpus, tmp_path / "d", "--shards", "3")
        build(corpus, tmp_path / output, "--shards", "3")
    assert contents(tmp_path / "d") == contents(tmp_path / "fresh")


def test_other_options_are_refused(corpus, dataset):
    with pytest.raises(UserError, match=r"--quality was 95 and is 50.*choose another --output"):
        arguments = ["--shards", "3", "--splits", "train:0.7,test:0.3", "--quality", "50"]
        build(corpus, dataset, *arguments)


def test_a_folder_of_something_else_is_refused(corpus, tmp_path):
    (tmp_path / "thesis.pdf").write_text("precious")
    with pytest.raises(UserError, match=r"holds thesis.pdf and was not written by"):
        build(corpus, tmp_path)
    assert contents(tmp_path).keys() == {"thesis.pdf"}


def test_bad_images_are_listed_and_do_not_stop_the_job(tmp_path):
    corpus = make_folder(tmp_path / "in")
    good = (corpus / "class_0" / "image 0.jpg").read_bytes()
    (corpus / "class_0" / "cut.jpg").write_bytes(good[:-150])
    (corpus / "class_0" / "empty.png").touch()
    (corpus / "class_0" / "page.jpg").write_text("<html>")
    (corpus / "class_0" / "scan.jxl").write_bytes(b"\xff\x0a")
    (corpus / "class_0" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (corpus / "class_0" / "notes.txt").write_text("no image, by its name")
    (corpus / "loose.jpg").write_bytes(good)
    os.mkfifo(corpus / "class_0" / "pipe.jpg")  # reading it would wait for ever
    output = tmp_path / "out"
    with pytest.raises(JobError, match=r"6 of 42 images are bad .*--max_rejected 0.143") as failed:
        build(corpus, output)
    assert "\n" not in str(failed.value)
    assert not (output / "COMPLETED").exists()
    assert not (output / "dataset_info.json").exists()
    assert rejected(output) == {
        "class_0/cut.jpg": "truncated",
        "class_0/empty.png": "empty",
        "class_0/page.jpg": "unknown_format",
        "class_0/scan.jxl": "unknown_format",
        "class_0/broken.jpg": "unreadable",
        "loose.jpg": "no_label",
    }
    build(corpus, output, "--max_rejected", "0.143")
    assert len(examples(output)) + len(examples(output, "validation")) == 36


def test_an_unreadable_file_is_rejected(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    corpus = make_folder(tmp_path / "in")
    (corpus / "class_0" / "image 0.jpg").chmod(0)
    build(corpus, tmp_path / "out", "--max_rejected", "0.1")
    assert rejected(tmp_path / "out") == {"class_0/image 0.jpg": "unreadable"}


def test_retry_rejected_does_those_shards_again(tmp_path):
    corpus = make_folder(tmp_path / "in")
    bad = corpus / "class_0" / "image 0.jpg"
    good = bad.read_bytes()
    bad.unlink()
    bad.symlink_to(tmp_path / "late.jpg")  # of a disk that is not there yet
    output = tmp_path / "out"
    arguments = ["--shards", "4", "--max_rejected", "0.1"]
    build(corpus, output, *arguments)
    assert rejected(output) == {"class_0/image 0.jpg": "unreadable"}
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord*")}
    (tmp_path / "late.jpg").write_bytes(good)
    build(corpus, output, *arguments, "--retry_rejected", "true")
    assert not (output / "rejected.jsonl").exists()
    assert sum(len(examples(output, split)) for split in ("train", "validation")) == 36
    changed = [path for path in before if path.stat().st_mtime_ns != before[path]]
    assert len(changed) == 1


def test_any_unicode(tmp_path):
    corpus = tmp_path / "in"
    names = ['quote" and \\', "new\nline", "emoji 😀", " spaces ", "كلب", "\u00e9", "e\u0301"]
    for name in names:
        (corpus / name).mkdir(parents=True)
        (corpus / name / f"{name}.jpg").write_bytes(encoded(picture()))
    latin = Path(os.fsdecode(os.fsencode(corpus) + b"/latin-1 \xe9"))
    latin.mkdir()
    (latin / os.fsdecode(b"\xe9.jpg")).write_bytes(encoded(picture()))
    build(corpus, tmp_path / "out", "--splits", "train:1")
    stored = {example.key: example.labels[0] for example in examples(tmp_path / "out")}
    assert set(stored) == {f"{name}/{name}.jpg" for name in names} | {"latin-1 \\xe9/\\xe9.jpg"}
    labels = class_names(tmp_path / "out")
    assert len(labels) == len(set(labels)) == 8
    assert labels[stored["new\nline/new\nline.jpg"]] == "new\\nline"
    assert labels[stored[" spaces / spaces .jpg"]] == "\\x20spaces\\x20"
    assert labels[stored["emoji 😀/emoji 😀.jpg"]] == "emoji 😀"
    tfds = pytest.importorskip("tensorflow_datasets")
    assert tfds.builder_from_directory(tmp_path / "out").info.features["label"].names == labels


def test_few_images_and_many_shards(tmp_path):
    """A shard that no image falls to is an empty file, or TFDS would miss it."""
    corpus = make_folder(tmp_path / "in", classes=2, per_class=4)
    build(corpus, tmp_path / "out", "--shards", "8", "--splits", "train:1")
    counts = Counter(
        json.loads(path.read_text())["records"] for path in (tmp_path / "out/manifests").iterdir()
    )
    assert counts[0] > 0
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert len(list(builder.as_dataset(split="train"))) == 8


def test_a_class_with_one_image(tmp_path):
    corpus = make_folder(tmp_path / "in", classes=2, per_class=5)
    (corpus / "single").mkdir()
    (corpus / "single" / "x.jpg").write_bytes(encoded(picture()))
    build(corpus, tmp_path / "out", "--splits", "train:1")
    assert class_names(tmp_path / "out") == ["class_0", "class_1", "single"]
    assert Counter(e.labels for e in examples(tmp_path / "out")) == {(0,): 5, (1,): 5, (2,): 1}


def test_max_size_reaches_the_images(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.jpg").write_bytes(encoded(picture(size=(300, 200))))
    build(tmp_path / "in", tmp_path / "out", "--splits", "train:1", "--max_size", "50")
    (example,) = examples(tmp_path / "out")
    assert pixels(example.image).shape == (50, 75, 3)


def test_shard_size_decides_their_number(tmp_path):
    corpus = tmp_path / "in" / "a"
    corpus.mkdir(parents=True)
    for number in range(12):
        noise = picture(number, (500, 400)).effect_spread(200)
        (corpus / f"{number}.png").write_bytes(encoded(noise, "PNG"))
    total = sum(path.stat().st_size for path in corpus.iterdir())
    assert 4e6 < total < 8e6
    build(tmp_path / "in", tmp_path / "out", "--splits", "train:1", "--shard_size", "2")
    assert len(list((tmp_path / "out").glob("*.tfrecord*"))) == -(-total // 2_000_000)


def test_a_window_makes_images_of_floats_and_is_kept_to(tmp_path):
    corpus = tmp_path / "in"
    for name, value in {"dim": 2.5, "bright": 7.5}.items():
        (corpus / name).mkdir(parents=True)
        scan = Image.fromarray(np.full((8, 8), value, np.float32))
        (corpus / name / "scan.tiff").write_bytes(encoded(scan, "TIFF"))
    arguments = ("--splits", "train:1", "--window")
    build(corpus, tmp_path / "out", *arguments, "0", "10")
    shown = {e.key: np.unique(pixels(e.image)).tolist() for e in examples(tmp_path / "out")}
    assert shown == {"dim/scan.tiff": [64], "bright/scan.tiff": [191]}
    with pytest.raises(UserError, match=r"\(--window was \[0.0, 10.0\] and is \[0.0, 20.0\]\)"):
        build(corpus, tmp_path / "out", *arguments, "0", "20")
    with pytest.raises(UserError, match=r"\(--window was \[0.0, 10.0\] and is None\)"):
        build(corpus, tmp_path / "out", *arguments[:2])
    build(corpus, tmp_path / "out", *arguments, "0", "20", "--update")
    shown = {e.key: np.unique(pixels(e.image)).tolist() for e in examples(tmp_path / "out")}
    assert shown == {"dim/scan.tiff": [32], "bright/scan.tiff": [96]}


def test_links_to_folders_are_followed_once(tmp_path):
    corpus = make_folder(tmp_path / "in", classes=1, per_class=4)
    (corpus / "class_0" / "loop").symlink_to(corpus / "class_0")
    (corpus / "linked").symlink_to(make_folder(tmp_path / "elsewhere", 1, 3) / "class_0")
    build(corpus, tmp_path / "out", "--splits", "train:1")
    assert Counter(e.labels for e in examples(tmp_path / "out")) == {(0,): 4, (1,): 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quality", "0"], "--quality 0 is not from 1 to 100"),
        (["--window", "9", "9"], "--window 9 9: give the value of black, then a larger"),
        (["--window", "0", ".inf"], "--window 0 inf: give the value of black"),
        (["--max_rejected", "2"], "--max_rejected 2.0 is not a share"),
        (["--shards", "0"], "--shards 0: give at least 1"),
        (["--image_timeout", "0"], "more than 0 seconds"),
        (["--workers", "-1"], "--workers -1 is negative"),
        (["--splits", "train:2"], "--splits train:2"),
    ],
)
def test_bad_options_are_named(corpus, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        build_dataset.main(["--input", str(corpus), "--output", str(tmp_path / "o"), *arguments])
    assert not (tmp_path / "o" / "COMPLETED").exists()


def test_bad_inputs_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "x.jpg").write_bytes(encoded(picture()))
    (tmp_path / "text.txt").write_text("")
    for name, message in {
        "missing": "does not exist",
        "empty": "is empty: put the images into .*/CLASS/",
        "flat": "holds images but no class folders",
        "text.txt": "is no folder, no .tar",
        "no/*.tar": "matches nothing",
    }.items():
        with pytest.raises(UserError, match=message):
            build(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class_folders_without_images(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    with pytest.raises(JobError, match="no images under"):
        build(tmp_path / "in", tmp_path / "out")
