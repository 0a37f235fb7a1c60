"""A complete dataset that follows its corpus, with the bytes of one that is built afresh."""

import shlex
import shutil
import time

import pytest
from beam_corpus import build, contents, encoded, make_folder, picture

from beam_jobs import build_dataset, verify_dataset
from groundwork.errors import JobError

SHARDS = ("--shards", "6", "--splits", "train:1")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("update")
    build(make_folder(folder / "in", 3, 20), folder / "d", *SHARDS)
    return folder


@pytest.fixture
def corpus(built, tmp_path):
    """A corpus at the path from which the dataset `d` beside it was built."""
    saved = tmp_path / "saved"
    shutil.copytree(built, saved)
    yield built / "in"
    shutil.rmtree(built / "in")
    shutil.rmtree(built / "d")
    for name in ("in", "d"):
        shutil.copytree(saved / name, built / name)


def changed_shards(folder, before: dict[str, int]) -> int:
    return sum(path.stat().st_mtime_ns != before[path.name] for path in folder.glob("*.tfrecord*"))


def times(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord*")}


def add(corpus):
    (corpus / "class_1" / "new.jpg").write_bytes(encoded(picture(100)))


def drop(corpus):
    (corpus / "class_0" / "image 0.jpg").unlink()


def change(corpus):
    (corpus / "class_2" / "image 2.jpg").write_bytes(encoded(picture(101), quality=40))


def change_in_place(corpus):
    """An image of as many bytes, which only the time of its change gives away."""
    path = corpus / "class_2" / "image 2.jpg"
    data = bytearray(path.read_bytes())
    data[13] ^= 1  # the density's low byte, which no decoder minds
    time.sleep(0.02)
    path.write_bytes(data)


def add_a_class_behind(corpus):
    (corpus / "class_9").mkdir()
    (corpus / "class_9" / "x.jpg").write_bytes(encoded(picture(102)))


@pytest.mark.parametrize("edit", [add, drop, change, change_in_place, add_a_class_behind])
def test_only_the_shards_concerned_are_written(corpus, tmp_path, edit):
    folder = corpus.parent / "d"
    before = times(folder)
    edit(corpus)
    build(corpus, folder, *SHARDS, "--update")
    assert changed_shards(folder, before) == 1
    build(corpus, tmp_path / "fresh", *SHARDS)
    assert contents(folder) == contents(tmp_path / "fresh")
    verify_dataset.main(["--input", str(folder), "--runner", "in_process"])


def test_a_shard_that_loses_all_its_images_is_empty(corpus, tmp_path):
    folder = corpus.parent / "d"
    for path in sorted(corpus.rglob("*.jpg"))[3:]:
        path.unlink()
    build(corpus, folder, *SHARDS, "--update")
    build(corpus, tmp_path / "fresh", *SHARDS)
    # three images get three shards, where 6 were asked for
    assert contents(folder) == contents(tmp_path / "fresh")


def test_other_inputs_and_splits(corpus, tmp_path):
    folder = corpus.parent / "d"
    other = make_folder(tmp_path / "more" / "other", 1, 5).parent
    arguments = ("--input", str(other), "--shards", "6", "--splits", "train:0.5,test:0.5")
    build(corpus, folder, *arguments, "--update")
    build(corpus, tmp_path / "fresh", *arguments)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_the_number_of_shards_is_kept_while_it_is_about_right(tmp_path):
    corpus = make_folder(tmp_path / "in", 1, 128)
    build(corpus, tmp_path / "d", "--splits", "train:1")
    assert len(times(tmp_path / "d")) == 1
    for number in range(40):
        (corpus / "class_0" / f"more {number}.jpg").write_bytes(encoded(picture(number)))
    build(corpus, tmp_path / "d", "--splits", "train:1", "--update")
    assert len(times(tmp_path / "d")) == 1  # afresh it would be two
    for number in range(40, 400):
        (corpus / "class_0" / f"more {number}.jpg").write_bytes(encoded(picture(number % 9)))
    build(corpus, tmp_path / "d", "--splits", "train:1", "--update")
    assert len(times(tmp_path / "d")) == 5
    verify_dataset.main(["--input", str(tmp_path / "d"), "--runner", "in_process"])


def test_nothing_to_update_writes_no_shard(corpus):
    folder = corpus.parent / "d"
    before = times(folder), contents(folder)
    build(corpus, folder, *SHARDS, "--update")
    assert (times(folder), contents(folder)) == before


def test_verify_prints_the_command_that_mends(corpus, capsys):
    folder = corpus.parent / "d"
    whole, before = contents(folder), times(folder)
    assert sum(name.startswith("index/") for name in whole) == 6
    paths = sorted(folder.glob("*.tfrecord*"))
    data = bytearray(paths[1].read_bytes())
    data[len(data) // 2] ^= 1
    paths[1].write_bytes(data)
    paths[4].unlink()
    (folder / "index" / f"{paths[1].name}.index").write_bytes(b"")
    with pytest.raises(JobError, match="faults, mend them with: python -m beam_jobs") as failed:
        verify_dataset.main(["--input", str(folder), "--runner", "in_process"])
    command = str(failed.value).partition("with: ")[2]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "beam_jobs.build_dataset"]
    assert words[-2:] == ["train-00001-of-00006", "train-00004-of-00006"]
    build_dataset.main([*words[3:], "--runner", "in_process"])
    assert contents(folder) == whole
    assert changed_shards(folder, before) == 2
    verify_dataset.main(["--input", str(folder), "--runner", "in_process"])


def test_an_update_that_was_killed_goes_on(corpus, tmp_path):
    folder = corpus.parent / "d"
    add(corpus)
    build(corpus, folder, *SHARDS, "--update")
    (folder / "plan.json").unlink()
    (folder / "COMPLETED").unlink()
    (folder / "manifests" / "train-00003-of-00006.json").unlink()
    build(corpus, folder, *SHARDS)
    build(corpus, tmp_path / "fresh", *SHARDS)
    assert contents(folder) == contents(tmp_path / "fresh")
