"""The whole of `beam_jobs` in buckets, against real servers on loopback."""

import io
import json
import tarfile

import pytest
from beam_corpus import build, command, contents, encoded, make_folder, picture, rejected
from counting_proxy import control
from loopback import environment, gcs_server, make_bucket, proxy

from beam_jobs import describe_dataset, find_duplicates, verify_dataset
from beam_jobs.corpus import tar_headers, tar_source
from groundwork import storage
from groundwork.errors import UserError


def upload(folder, url: str) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            with storage.create(f"{url}/{path.relative_to(folder).as_posix()}") as file:
                file.write(path.read_bytes())
    return url


def download(url: str, folder):
    storage.copy_folder_to_local(url, str(folder))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("corpus"))


def in_process(job, *arguments: str) -> None:
    job.main([*arguments, "--runner", "in_process"])


def test_a_dataset_in_a_bucket_is_that_on_a_disk(corpus, bucket, tmp_path, capsys):
    build(corpus, tmp_path / "local", "--shards", "2")
    build(corpus, f"{bucket}/d", "--shards", "2")
    found = contents(download(f"{bucket}/d", tmp_path / "copy"))
    assert found == contents(tmp_path / "local")
    in_process(verify_dataset, "--input", f"{bucket}/d")
    assert "no fault" in capsys.readouterr().out
    in_process(describe_dataset, "--input", f"{bucket}/d", "--output", f"{bucket}/reports/d")
    report = json.loads(storage.read_text(f"{bucket}/reports/d/dataset.json"))
    assert report["images"] == 36
    assert storage.exists(f"{bucket}/reports/d/index.html")
    in_process(find_duplicates, "--input", f"{bucket}/d", "--output", f"{bucket}/reports/dup")
    assert "pairs.jsonl" in storage.names(f"{bucket}/reports/dup")
    build(corpus, f"{bucket}/d", "--shards", "2")
    assert "is complete already" in capsys.readouterr().out


def test_images_in_a_bucket(corpus, bucket, tmp_path):
    """A folder, a tar, a table; one image has gone since it was listed."""
    upload(corpus, f"{bucket}/photos")
    build(f"{bucket}/photos", tmp_path / "d", "--splits", "train:1", "--shards", "2")
    build(corpus, tmp_path / "expected", "--splits", "train:1", "--shards", "2")
    shard = "images-train.tfrecord-00001-of-00002"
    assert contents(tmp_path / "d")[shard] == contents(tmp_path / "expected")[shard]

    rows = ["path,label", *(f"class_0/image {n}.jpg,a" for n in (0, 6, 12)), "class_0/gone.jpg,a"]
    storage.write_text(f"{bucket}/photos/table.csv", "\n".join(rows))
    build(f"{bucket}/photos/table.csv", tmp_path / "table", "--max_rejected", "0.3")
    (line,) = (tmp_path / "table" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "unreadable"


def make_tar(images: int) -> bytes:
    """Photographs' worth of bytes, in class folders."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(images):
            data = encoded(picture(number, (120, 90)), quality=95)
            member = tarfile.TarInfo(f"class_{number % 3}/{number}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def test_a_remote_tar_is_read_once(tmp_path):
    """Bytes at most 1.05 × the tar, and at most a request for each image, all in all."""
    tar = make_tar(300)
    (tmp_path / "a.tar").write_bytes(tar)
    arguments = ["--splits", "train:1", "--shards", "4"]
    with gcs_server() as url, proxy(url) as through:
        bucket = make_bucket("gs")
        with storage.create(f"{bucket}/a.tar") as file:
            file.write(tar)
        with environment({"STORAGE_EMULATOR_HOST": through}):
            job = ["--input", f"{bucket}/a.tar", "--output", str(tmp_path / "d"), *arguments]
            run_alone(job)
        counts = control(through)
    assert counts["received"] <= 1.05 * len(tar)
    assert counts["requests"] <= 300
    build(tmp_path / "a.tar", tmp_path / "local", *arguments)
    assert shards_of(tmp_path / "d") == shards_of(tmp_path / "local")


@pytest.mark.parametrize("kind", ["plain", "pax", "labels", "nested", "cut", "two"])
def test_a_tar_in_place_is_listed_as_a_local_one(kind, gs_bucket, tmp_path, monkeypatch):
    """As on a cluster, where nothing is copied; several stretches are walked at once."""
    monkeypatch.setattr(tar_headers, "_SEGMENT_BYTES", 64 << 10)
    monkeypatch.setattr(tar_headers, "_SCAN_BYTES", 4 << 10)
    tar = make_tar(200)
    if kind in ("pax", "labels", "nested"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for number in range(20 if kind == "nested" else 200):
                for suffix, data in {
                    "pax": {"jpg": bytes(5000)},
                    "labels": {"jpg": bytes(5000), "cls": b"7"},
                    "nested": {"tar": make_tar(7)},
                }[kind].items():
                    member = tarfile.TarInfo(f"{number}.{suffix}")
                    member.size, member.mtime = len(data), number + 0.5
                    archive.addfile(member, io.BytesIO(data))
        tar = file.getvalue()
    tar = tar[: len(tar) // 2] if kind == "cut" else 2 * tar if kind == "two" else tar
    (tmp_path / "a.tar").write_bytes(tar)
    with storage.create(f"{gs_bucket}/a.tar") as remote:
        remote.write(tar)
    local = list(tar_source.list_tar(str(tmp_path / "a.tar"), ""))
    found = list(tar_source.list_tar(f"{gs_bucket}/a.tar", ""))
    assert len(local) > 90
    assert [entry._replace(path=b"", modified=0) for entry in found] == [
        entry._replace(path=b"", modified=0) for entry in local
    ]


def run_alone(arguments: list[str]) -> None:
    """In a process of its own: a process keeps the client that it has made first."""
    job = command("beam_jobs.build_dataset", *arguments)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors


def test_folders_of_splits_in_a_bucket(bucket, tmp_path, capsys):
    for name in ("train", "val"):
        make_folder(tmp_path / "in" / name, 2, 2)
    (tmp_path / "in" / "train" / "class_0" / "notes.txt").write_text("text")
    (tmp_path / "in" / "train" / "class_0" / "odd").write_bytes(encoded(picture(7)))
    (tmp_path / "in" / "train" / "loose.jpg").write_bytes(encoded(picture(8)))
    upload(tmp_path / "in", f"{bucket}/splits")
    with pytest.raises(UserError, match=r"holds the splits train, val, not classes"):
        build(f"{bucket}/splits", tmp_path / "d")
    options = ("--splits", "folders", "--max_rejected", "0.2")
    build(f"{bucket}/splits", tmp_path / "d", *options)
    assert "passed over: 1 × no_image" in capsys.readouterr().out
    build(tmp_path / "in", tmp_path / "local", *options)
    assert shards_of(tmp_path / "d") == shards_of(tmp_path / "local")
    assert rejected(tmp_path / "d") == {"train/loose.jpg": "no_label"}


def shards_of(folder) -> dict[str, str]:
    return {name: digest for name, digest in contents(folder).items() if "tfrecord" in name}
