import shutil

import pytest
from beam_corpus import build, encoded, make_folder, picture

from beam_jobs import verify_dataset
from beam_jobs.dataset import shards
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard
from groundwork.errors import JobError, UserError

SHARD = Shard("images", "train", 1, 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    build(make_folder(folder / "in"), folder / "d", "--shards", "2", "--splits", "train:1")
    return folder / "d"


@pytest.fixture
def copy(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "d")
    return tmp_path / "d"


def verify(folder) -> None:
    verify_dataset.main(["--input", str(folder), "--runner", "in_process"])


def faults(folder, capsys) -> list[str]:
    with pytest.raises(JobError, match=r"faults, mend them with"):
        verify(folder)
    return [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]


def test_a_good_dataset(dataset, capsys):
    verify(dataset)
    assert "36 images, 2 shards, no fault" in capsys.readouterr().out


def test_a_flipped_bit(copy, capsys):
    path = copy / SHARD.file_name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (fault,) = faults(copy, capsys)
    assert fault.startswith(f"{SHARD.file_name}: record ")
    assert "checksum" in fault


def test_a_file_cut_at_a_record_or_missing(copy, capsys):
    records = list(shards.read(str(copy), SHARD))
    path = copy / SHARD.file_name
    path.write_bytes(path.read_bytes()[: -(len(records[-1]) + 16)])
    assert faults(copy, capsys) == [
        f"{SHARD.file_name}: {len(records) - 1} records, {len(records)} in dataset_info.json",
        f"{SHARD.file_name}: SHA-256 differs from {SHARD.manifest_name}",
    ]
    path.unlink()
    (fault,) = faults(copy, capsys)
    assert "No such file" in fault


def test_an_index_of_other_records(copy, capsys):
    (copy / SHARD.index_name).write_bytes((copy / SHARD.index_name).read_bytes()[8:])
    assert faults(copy, capsys) == [
        f"{SHARD.file_name}: {SHARD.index_name} does not say where its records begin"
    ]
    (copy / SHARD.index_name).unlink()  # as in datasets of others, and of earlier versions
    verify(copy)


def test_what_is_inside_the_records(copy, capsys):
    good = encoded(picture())
    bad = [
        Example(good, (2,), "same"),
        Example(good, (3,), "label"),
        Example(b"<html>", (0,), "page"),
        Example(encoded(picture(), "BMP"), (0,), "bmp"),
        Example(good, (0,), "same"),
    ]
    shards.write(str(copy), SHARD, "", bad)  # the manifest goes with the old content
    name = SHARD.file_name
    (other,) = {path.name for path in copy.glob("*.tfrecord*")} - {name}
    found = faults(copy, capsys)
    assert f"{name} record 1: label 3 of 3 classes" in found
    assert f"{name} record 2: image unknown_format starts with b'<html>'" in found
    assert any(line.startswith(f"{name} record 3: readers differ") for line in found)
    assert f"{name} record 4: key 'same' is also that of {name} record 0" in found
    assert not any(other in line for line in found)


def test_what_is_no_complete_dataset(copy, tmp_path):
    (copy / "COMPLETED").unlink()
    with pytest.raises(UserError, match="is not complete: run the job that writes it again"):
        verify(copy)
    with pytest.raises(UserError, match="is no dataset folder"):
        verify(tmp_path / "nothing")
