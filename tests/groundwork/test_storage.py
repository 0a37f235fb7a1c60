"""The same calls for local paths and both kinds of buckets, against real servers on loopback."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from counting_proxy import control
from loopback import environment, gcs_server, make_bucket, proxy, s3_server

from groundwork import storage
from groundwork.errors import StorageFault, UserError
from groundwork.filesystems import check_scheme

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(params=["local", "gs", "s3"])
def place(request, tmp_path):
    """A folder that does not exist yet."""
    if request.param == "local":
        return str(tmp_path / "place")
    return request.getfixturevalue(f"{request.param}_bucket") + "/place"


def test_what_is_written_is_there(place):
    assert storage.names(place) == set()
    storage.write_text(f"{place}/deep/er/a.txt", "grün")
    storage.write_text(f"{place}/b.txt", "")
    assert storage.read_text(f"{place}/deep/er/a.txt") == "grün"
    assert storage.size(f"{place}/deep/er/a.txt") == 5
    assert storage.names(place) == {"deep", "b.txt"}
    assert storage.folders(place) == [f"{place}/deep"]
    assert storage.exists(f"{place}/deep/er/a.txt")
    assert storage.exists(f"{place}/deep")
    assert not storage.exists(f"{place}/c")
    found = [(f"{place}/b.txt", 0), (f"{place}/deep/er/a.txt", 5)]
    assert list(storage.files_below(place)) == found
    storage.delete(f"{place}/b.txt")
    storage.delete(f"{place}/b.txt")
    assert storage.names(place) == {"deep"}
    storage.delete_folder(place)
    assert not storage.exists(f"{place}/deep/er/a.txt")


def test_a_file_appears_whole_or_not_at_all(place):
    with pytest.raises(ZeroDivisionError), storage.create(f"{place}/a") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert storage.names(place) == set()


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    flush, sizes = os.fsync, []

    def fsync(descriptor):
        sizes.append(os.fstat(descriptor).st_size)
        assert not (tmp_path / "a").exists()
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.write_text(str(tmp_path / "a"), "whole")
    assert sizes == [5]
    assert storage.read_text(str(tmp_path / "a")) == "whole"


def test_a_large_file_is_sought_in_and_copied(place, tmp_path):
    data = os.urandom(20_000_000)
    with storage.create(f"{place}/large") as file:
        file.write(data)
    with storage.open_binary(f"{place}/large") as file:
        file.seek(123)
        assert file.read(10) == data[123:133]
        assert file.read() == data[133:]
        assert file.read(1) == b""
    digest = hashlib.sha256(data).hexdigest()
    copy = tmp_path / "copies" / "copy"
    storage.copy_to_local(f"{place}/large", str(copy), digest)
    assert copy.read_bytes() == data
    copy.unlink()
    with pytest.raises(StorageFault, match=f"should have {'0' * 64}"):
        storage.copy_to_local(f"{place}/large", str(copy), "0" * 64)
    assert not copy.exists()


def test_ranges_are_given_in_the_order_asked_for(place):
    data = os.urandom(100_000)
    with storage.create(f"{place}/a") as file:
        file.write(data)
    wanted = [(90_000, 5), (0, 10), (10, 0), (99_990, 10), (5, 10), (50_000, 20_000)]
    found = storage.read_ranges(f"{place}/a", wanted)
    assert found == [data[offset : offset + length] for offset, length in wanted]


def test_an_empty_file(place):
    storage.write_text(f"{place}/empty", "")
    assert storage.exists(f"{place}/empty")
    assert storage.read(f"{place}/empty") == b""
    with storage.open_binary(f"{place}/empty") as file:
        assert file.read() == b""
    with pytest.raises(FileNotFoundError), storage.open_binary(f"{place}/nothing"):
        pass


def test_what_is_not_there_is_no_fault_of_the_storage(place):
    for call in (storage.read, storage.size, lambda path: storage.read_ranges(path, [(0, 1)])):
        with pytest.raises(FileNotFoundError):
            call(f"{place}/nothing")


def test_parts_of_many_files(bucket):
    for name in "ab":
        storage.write_text(f"{bucket}/{name}", 100 * name)
    parts = [
        storage.Part(f"{bucket}/b"),
        storage.Part(f"{bucket}/c"),
        storage.Part(f"{bucket}/a", 10, 3),
        storage.Part(f"{bucket}/a", 98, 5),
        storage.Part(f"{bucket}/a", 1000, 5),
    ]
    whole, missing, part, end, behind = storage.read_parts(parts)
    assert (whole, part, end) == (100 * b"b", b"aaa", b"aa")
    assert isinstance(missing, FileNotFoundError)
    assert behind == b""  # read together with the one before it


def test_a_part_behind_the_end_of_an_object_is_not_there(bucket):
    storage.write_text(f"{bucket}/a", "a")
    (behind,) = storage.read_parts([storage.Part(f"{bucket}/a", 5000, 5)])
    assert isinstance(behind, FileNotFoundError)


def test_patterns(bucket):
    for name in ("a/1.tar", "a/2.tar", "b/3.tar", "b/c/4.tar"):
        storage.write_text(f"{bucket}/{name}", "12")
    assert storage.match(f"{bucket}/*/*.tar") == [
        (f"{bucket}/{name}", 2) for name in ("a/1.tar", "a/2.tar", "b/3.tar")
    ]
    assert len(storage.match(f"{bucket}/**")) == 4


def test_of_several_writers_of_a_new_object_one_succeeds(bucket):
    storage.create_new(f"{bucket}/lease", b"first")
    with pytest.raises(FileExistsError):
        storage.create_new(f"{bucket}/lease", b"second")
    assert storage.read(f"{bucket}/lease") == b"first"


@pytest.mark.parametrize(
    ("path", "message"),
    [("file:///a", "without file://"), ("ftp://a/b", "ftp:// is not served; use gs://")],
)
def test_a_scheme_that_is_not_served_is_named(path, message):
    with pytest.raises(UserError, match=message):
        storage.read(path)


def test_a_client_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'vit-keras-pipeline\[aws\]'"):
        check_scheme("s3://bucket/a")


FAULTS = """
import sys
from groundwork import storage
from groundwork.errors import StorageFault
try:
    print(len(storage.read_ranges(sys.argv[1], [(0, 10), (5000, 10)])))
except StorageFault as fault:
    print("fault:", fault)
"""
"""In a process of its own: a process keeps the client that it has made first."""


@pytest.mark.parametrize(
    ("server", "scheme", "variable"),
    [
        (gcs_server, "gs", "STORAGE_EMULATOR_HOST"),
        (s3_server, "s3", "AWS_ENDPOINT_URL_S3"),
    ],
)
def test_faults_of_the_network_are_tried_again(server, scheme, variable):
    with server() as url, proxy(url) as through:
        path = f"{make_bucket(scheme)}/a"
        with environment({variable: through}):
            run_python(f"from groundwork import storage; storage.write_text({path!r}, 'x' * 10000)")
            control(through, "reset=1&faults=2")
            assert run_python(FAULTS, path) == "2"
            assert control(through)["requests"] == 4
    if scheme == "s3":  # gcsfs waits for half a minute
        with environment({variable: "http://127.0.0.1:9"}):
            said = run_python(FAULTS, path)
        assert said.startswith(f"fault: {path}: ")
        assert said.endswith("; once that is mended, run the same command again")
        assert "\n" not in said


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
        check=True,
    )
    assert not done.stderr
    return done.stdout.strip()
