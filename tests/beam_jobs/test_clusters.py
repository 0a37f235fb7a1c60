"""Jobs on workers that share nothing with who starts them but a bucket.

Beam's own job service stands for Flink's, and its worker pool for a machine: with a working
directory and a folder for temporary files of its own.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from beam_corpus import REPOSITORY, build, command, contents, make_folder

from beam_jobs import build_dataset, describe_dataset, find_duplicates, verify_dataset
from groundwork import locks, storage
from groundwork.errors import UserError


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(gcs, tmp_path_factory):
    """(endpoint of the job service, --beam_args but for the folder of results)."""
    service, pool = free_port(), free_port()
    started = []
    for port, arguments in (
        (service, ["apache_beam.runners.portability.local_job_service_main", "-p", str(service)]),
        (pool, ["apache_beam.runners.worker.worker_pool_main", "--service_port", str(pool)]),
    ):
        elsewhere = tmp_path_factory.mktemp("machine")
        # the pool starts its workers by the name `python`
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(elsewhere), "PATH": path}
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=elsewhere,
            env=os.environ | own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        wait_for(port, process)
    endpoint = f"localhost:{service}"
    external = f"--environment_type=EXTERNAL --environment_config=localhost:{pool}"
    yield endpoint, f"--job_endpoint={endpoint} {external}"
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("corpus"))


def upload(folder, url: str) -> None:
    for path in folder.rglob("*.jpg"):
        with storage.create(f"{url}/{path.relative_to(folder).as_posix()}") as file:
            file.write(path.read_bytes())


def test_every_job_whose_results_come_back(cluster, corpus, gs_bucket, tmp_path, capsys):
    _, beam_args = cluster
    upload(corpus, f"{gs_bucket}/photos")
    portable = ["--runner", "portable", "--beam_args", beam_args]
    dataset = ["--input", f"{gs_bucket}/d"]
    build_dataset.main(["--input", f"{gs_bucket}/photos", "--output", f"{gs_bucket}/d",
                        "--shards", "2", *portable])  # fmt: skip
    build(corpus, tmp_path / "local", "--shards", "2")
    storage.copy_folder_to_local(f"{gs_bucket}/d", str(tmp_path / "copy"))
    local, copy = contents(tmp_path / "local"), contents(tmp_path / "copy")
    assert {n: d for n, d in copy.items() if "tfrecord" in n} == {
        n: d for n, d in local.items() if "tfrecord" in n
    }

    with pytest.raises(UserError, match="--runner portable: add --temp_location=FOLDER"):
        verify_dataset.main([*dataset, *portable])
    portable[-1] += f" --temp_location={gs_bucket}/tmp"
    verify_dataset.main([*dataset, *portable])
    assert "36 images, 4 shards, no fault" in capsys.readouterr().out
    describe_dataset.main([*dataset, "--output", f"{gs_bucket}/report", *portable])
    assert json.loads(storage.read_text(f"{gs_bucket}/report/dataset.json"))["images"] == 36
    find_duplicates.main([*dataset, "--output", f"{gs_bucket}/duplicates", *portable])
    assert "exclude.txt" in storage.names(f"{gs_bucket}/duplicates")
    assert storage.names(f"{gs_bucket}/tmp") == set()


@contextlib.contextmanager
def job_service(endpoint: str):
    with grpc.insecure_channel(endpoint) as channel:
        yield beam_job_api_pb2_grpc.JobServiceStub(channel)


def runs_a_job(endpoint: str) -> bool:
    with job_service(endpoint) as service:
        jobs = service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
    return any(job.state == beam_job_api_pb2.JobState.RUNNING for job in jobs)


def canceled_jobs(endpoint: str) -> int:
    """Of all that have ended. What was canceled may end as done, if it was about to."""
    with job_service(endpoint) as service:
        jobs = service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
        wanted = [beam_job_api_pb2.GetJobStateRequest(job_id=job.job_id) for job in jobs]
        histories = [[event.state for event in service.GetStateStream(one)] for one in wanted]
    return sum(beam_job_api_pb2.JobState.CANCELLED in states for states in histories)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_is_canceled_before_its_lock_is_given_up(
    cluster, corpus, gs_bucket, signum
):
    endpoint, beam_args = cluster
    before = canceled_jobs(endpoint)
    upload(corpus, f"{gs_bucket}/photos")
    folder = f"{gs_bucket}/d"
    job = command("beam_jobs.build_dataset", "--input", f"{gs_bucket}/photos", "--output", folder,
                  "--shards", "30", "--runner", "portable", "--beam_args", beam_args)  # fmt: skip
    deadline = time.monotonic() + 120
    while not runs_a_job(endpoint) and time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)
    assert locks.LOCK in storage.names(folder)
    job.send_signal(signum)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 128 + signum, errors
    assert "stopping the job, which runs elsewhere" in errors
    assert errors.splitlines()[-1].endswith("the same command goes on where it was")
    assert canceled_jobs(endpoint) == before + 1
    assert locks.LOCK not in storage.names(folder)
