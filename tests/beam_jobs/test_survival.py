"""Jobs that are stopped in every way end, once they are run again, with the same bytes."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from beam_corpus import build, command, contents, encoded, picture

from beam_jobs.dataset import dataset_folder
from groundwork.errors import JobError, UserError

JOB = "beam_jobs.build_dataset"
SHARDS = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Images that take long enough to be interrupted: they are all encoded anew."""
    root = tmp_path_factory.mktemp("corpus")
    for number in range(96):
        path = root / f"class_{number % 3}" / f"{number}.bmp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(picture(number % 7, (240, 180)), "BMP"))
    return root


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "d"
    build(corpus, folder, "--shards", str(SHARDS))
    return contents(folder)


def arguments(corpus: Path, folder: Path) -> list[str]:
    job = [JOB, "--input", str(corpus), "--output", str(folder), "--shards", str(SHARDS)]
    return [*job, "--workers", "2"]


def wait_for_shards(job: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob("manifests/*.json"))) < count and time.monotonic() < deadline:
        if job.poll() is not None:
            return
        time.sleep(0.005)


def processes_of(job: subprocess.Popen[str]) -> set[int]:
    """All processes of the job's session that still run."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == job.pid and fields[0] != "Z":
            found.add(int(entry.name))
    return found


def assert_no_orphans(job: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 15
    while processes_of(job) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of(job)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_job_goes_on(corpus, undisturbed, tmp_path, signum, monkeypatch):
    folder = tmp_path / "d"
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    job = command(*arguments(corpus, folder))
    wait_for_shards(job, folder, 3)
    job.send_signal(signum)
    _, errors = job.communicate(timeout=60)
    if signum == signal.SIGKILL:
        assert job.returncode == -signal.SIGKILL
    else:
        assert job.returncode == 128 + signum
        assert errors.strip().splitlines()[-1].endswith("the same command goes on where it was")
        assert "Traceback" not in errors
    assert_no_orphans(job)
    assert not list((tmp_path / "tmp").iterdir())
    assert not (folder / "COMPLETED").exists()
    assert not (folder / "dataset_info.json").exists()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("manifests/*.json")}
    build(corpus, folder, "--shards", str(SHARDS))
    assert contents(folder) == undisturbed
    assert done
    assert {path: path.stat().st_mtime_ns for path in done} == done  # what was done was kept


def test_a_killed_worker_ends_the_job_with_advice(corpus, undisturbed, tmp_path):
    folder = tmp_path / "d"
    job = command(*arguments(corpus, folder))
    wait_for_shards(job, folder, 2)
    _, *workers = sorted(
        pid for pid in processes_of(job) if "local_worker" in command_line(pid)
    )  # the first one has forked the others
    os.kill(workers[0], signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1
    assert f"worker process {workers[0]} was killed" in errors.splitlines()[-1]
    assert "run the same command again" in errors.splitlines()[-1]
    assert_no_orphans(job)
    build(corpus, folder, "--shards", str(SHARDS))
    assert contents(folder) == undisturbed


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_kills_at_random_moments(corpus, undisturbed, tmp_path):
    """BEAM_JOBS_KILLS=20 does it as often as the README says; the default keeps the suite quick."""
    rng = random.Random(0)
    folder = tmp_path / "d"
    for _ in range(int(os.environ.get("BEAM_JOBS_KILLS", "2"))):
        job = command(*arguments(corpus, folder))
        wait_for_shards(job, folder, rng.randrange(1, SHARDS))
        time.sleep(rng.random() * 0.2)
        victims = processes_of(job)
        if victims:
            os.kill(rng.choice([job.pid, *victims]), signal.SIGKILL)
        job.communicate(timeout=120)
        assert_no_orphans(job)
        if (folder / "COMPLETED").exists():  # it was too late, or a decoder that was replaced
            assert contents(folder) == undisturbed
            for path in list(folder.glob("images-*"))[::2]:
                path.unlink()
            (folder / "COMPLETED").unlink()
    build(corpus, folder, "--shards", str(SHARDS))
    assert contents(folder) == undisturbed


def test_two_jobs_on_one_output(corpus, tmp_path):
    with (
        dataset_folder.locked(str(tmp_path / "d")),
        pytest.raises(UserError, match="another job is writing"),
    ):
        build(corpus, tmp_path / "d")


def test_a_full_disk(corpus, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        with pytest.raises(JobError, match=r"No space left on device; once that is mended"):
            build(corpus, disk / "d")
        assert not (disk / "d" / "COMPLETED").exists()
        assert not list((disk / "d").glob(".incomplete-*"))
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        build(corpus, disk / "d")
        build(corpus, tmp_path / "other")
        assert contents(disk / "d") == contents(tmp_path / "other")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_errors_are_one_line(tmp_path):
    for arguments, message in {
        ("--input", "missing", "--output", "x"): "error: --input missing does not exist",
        ("--output", "x", "--imput", "y"): "--imput",
        ("--input", "a", "--output", "x", "--quality", "high"): "quality",
        ("--input", "a"): "output",
    }.items():
        job = command(JOB, *arguments)
        _, errors = job.communicate(timeout=60)
        assert job.returncode == 2
        assert len(errors.splitlines()) == 1
        assert message in errors
