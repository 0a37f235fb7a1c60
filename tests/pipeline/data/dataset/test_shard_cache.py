"""Datasets in buckets, against real servers on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from counting_proxy import control
from dataset_folders import REPOSITORY, encode, write_dataset_folder
from loopback import proxy

from beam_jobs import build_dataset
from groundwork import storage
from groundwork.errors import StorageFault, UserError
from pipeline.data.dataset import shard_cache
from pipeline.data.dataset.prepare_source import prepare_source
from pipeline.data.dataset.record_index import index_paths
from pipeline.data.dataset.source import open_source
from pipeline.data.dataset.split import read_records
from pipeline.readiness.storage_checks import check_split


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A dataset folder of beam_jobs: 24 noisy images in 3 shards of train."""
    folder = tmp_path_factory.mktemp("bucket_dataset")
    rng = np.random.default_rng(0)
    for number in range(24):
        path = folder / "in" / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(rng.integers(0, 256, (40, 40, 3), np.uint8)))
    arguments = ["--input", str(folder / "in"), "--output", str(folder / "d")]
    arguments += ["--shards", "3", "--splits", "train:1", "--runner", "in_process"]
    build_dataset.main(arguments)
    return folder / "d"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; what this process holds of others does not count."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shard_cache, "_held", {})
    return tmp_path / "cache" / "vit-keras-pipeline" / "datasets"


def upload(folder: Path, url: str) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            with storage.create(storage.join(url, path.relative_to(folder).as_posix())) as file:
                file.write(path.read_bytes())
    return url


def records(split) -> list[bytes]:
    return [record.numpy() for record in read_records(split.files)]


def cached_shards(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*.tfrecord-*") if path.suffix != ".index")


def test_a_dataset_in_a_bucket_is_that_on_a_disk(dataset, bucket, cache, capsys):
    url = upload(dataset, f"{bucket}/deep/d")
    local, source = open_source(str(dataset)), open_source(url)
    assert (source.fingerprint, source.class_names) == (local.fingerprint, local.class_names)
    assert cached_shards(cache) == []  # nothing is copied before it is asked for
    part = source.split("train[:5]")
    assert len(cached_shards(cache)) == 1
    split = source.split("train")
    assert f"copying {url}, files ████████████████████████ 4/4" in capsys.readouterr().err
    assert split.fingerprint == local.split("train").fingerprint
    assert records(split) == records(local.split("train"))
    assert records(part) == records(local.split("train[:5]"))
    for shard, index in index_paths(file.path for file in split.files).items():
        assert Path(index) == Path(shard).parent / "index" / f"{Path(shard).name}.index"
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.tfrecord-*")}
    open_source(url).split("train")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.tfrecord-*")} == before


def test_a_dataset_of_others_that_was_written_again(s3_bucket, tmp_path):
    """It has neither manifests nor indexes."""
    for count in (6, 9):
        examples = [(encode(np.full((4, 4, 3), i, np.uint8)), i % 2, f"{i}") for i in range(count)]
        folder = write_dataset_folder(tmp_path / f"{count}", {"train": examples}, ("a", "b"))
        split = open_source(upload(folder, f"{s3_bucket}/d")).split("train")
        assert records(split) == records(open_source(str(folder)).split("train"))


def test_what_is_no_dataset(dataset, bucket):
    with pytest.raises(UserError, match=f"dataset folder {bucket}/d does not exist: make it with"):
        open_source(f"{bucket}/d")
    upload(dataset, f"{bucket}/d/1.0.0")
    with pytest.raises(UserError, match=rf"did you mean {bucket}/d/1\.0\.0\?"):
        open_source(f"{bucket}/d")
    storage.delete(f"{bucket}/d/1.0.0/COMPLETED")
    with pytest.raises(UserError, match="is not complete"):
        open_source(f"{bucket}/d/1.0.0")


def test_a_shard_that_is_damaged_or_missing(dataset, bucket, cache):
    url = upload(dataset, f"{bucket}/d")
    path = sorted(dataset.glob("*.tfrecord-*"))[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with storage.create(f"{url}/{path.name}") as file:
        file.write(data)
    with pytest.raises(StorageFault, match=f"{path.name} has the SHA-256 .* and should have") as at:
        open_source(url).split("train")
    assert "\n" not in str(at.value)
    assert path.name not in cached_shards(cache)
    storage.delete(f"{url}/{path.name}")
    with pytest.raises(UserError, match=f"1 files of split train are missing.*{path.name}"):
        open_source(url).split("train")


def test_the_cache_keeps_its_bound(dataset, s3_bucket, cache, monkeypatch):
    first, second = (upload(dataset, f"{s3_bucket}/{name}") for name in ("a", "b"))
    size = sum(path.stat().st_size for path in dataset.rglob("*") if path.is_file())
    monkeypatch.setenv(shard_cache.LIMIT, str(1.5 * size / 1e9))
    files = open_source(first).split("train").files
    with pytest.raises(UserError, match=rf"{second}: .* GB are to be copied, .* raise VIT_DATASET"):
        open_source(second).split("train")
    assert all(Path(file.path).exists() for file in files)
    for descriptor in shard_cache._held.values():  # as where the process has ended
        os.close(descriptor)
    shard_cache._held.clear()
    open_source(second).split("train")
    assert not any(Path(file.path).exists() for file in files)
    assert len(cached_shards(cache)) == 3
    monkeypatch.setenv(shard_cache.LIMIT, "much")
    storage.delete_folder(str(next(cache.rglob("*-00000-of-00003")).parent / "index"))
    with pytest.raises(UserError, match="VIT_DATASET_CACHE_GB is much: give a number of GB"):
        open_source(second).split("train")


READER = """
import sys
from groundwork.errors import StorageFault
from pipeline.data.dataset.source import open_source
source = open_source(sys.argv[1])
print("open", flush=True)
input()
try:
    print(len(source.split("train").files))
except StorageFault as error:
    print(error)
"""


def reader(url: str, endpoint: str = "") -> subprocess.Popen[str]:
    """A process that has opened a dataset, and reads it when it is told to."""
    settings = {"AWS_ENDPOINT_URL_S3": endpoint} if endpoint else {}
    process = subprocess.Popen(
        [sys.executable, "-c", READER, url],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_faults_of_the_network(dataset, s3_bucket, cache):
    url = upload(dataset, f"{s3_bucket}/d")
    with proxy(os.environ["AWS_ENDPOINT_URL_S3"]) as endpoint:
        process = reader(url, endpoint)
        control(endpoint, "faults=3")
        assert process.communicate("\n", timeout=60)[0] == "3\n"
        for shard in cache.rglob("*.tfrecord-*"):
            shard.unlink()
        process = reader(url, endpoint)
        control(endpoint, "faults=10000")
        (line,) = process.communicate("\n", timeout=120)[0].splitlines()
    assert line.startswith(f"{url}")
    assert line.endswith("once that is mended, run the same command again")
    assert cached_shards(cache) == []


def test_two_processes_copy_once(dataset, s3_bucket, cache):
    url = upload(dataset, f"{s3_bucket}/d")
    with proxy(os.environ["AWS_ENDPOINT_URL_S3"]) as endpoint:
        processes = [reader(url, endpoint) for _ in range(2)]
        control(endpoint, "reset=1&delay=0.1")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.communicate(timeout=60)[0] for process in processes] == ["3\n", "3\n"]
        received = control(endpoint)["received"]
    size = sum(path.stat().st_size for path in dataset.glob("*.tfrecord-*"))
    assert size < received < 1.8 * size
    assert len(cached_shards(cache)) == 3


def test_preflight_copies_no_shard(dataset, bucket, cache):
    source = open_source(upload(dataset, f"{bucket}/d"), download=False)
    check = check_split(source.split("train"))
    assert (check.status, check.found) == (
        "ok",
        "train: 24 images in 3 files, the first of 40×40 pixels",
    )
    assert cached_shards(cache) == []


def test_a_dataset_in_a_bucket_is_not_made_again(dataset, bucket, capsys):
    prepare_source(upload(dataset, f"{bucket}/d"), "beam_jobs.build_dataset --no_such_option")
    assert capsys.readouterr().out == ""


def test_tensorflow_reads_what_google_serves(monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    assert shard_cache.tensorflow_reads("gs://bucket/d")
    assert not shard_cache.tensorflow_reads("s3://bucket/d")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert not shard_cache.tensorflow_reads("gs://bucket/d")


def test_a_cache_that_cannot_be_written_is_named(dataset, gs_bucket, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*/file/.* another folder in XDG_CACHE_HO"):
        open_source(upload(dataset, f"{gs_bucket}/d"))
