import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundwork import locks, storage
from groundwork.errors import JobError, UserError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["local", "gs", "s3"])
def place(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "place")
    return request.getfixturevalue(f"{request.param}_bucket") + "/place"


def test_one_job_at_a_time(place):
    with locks.hold(place, "busy"):
        with pytest.raises(UserError, match="busy"), locks.hold(place, "busy"):
            pass
        assert storage.names(place) == {locks.LOCK}
    assert storage.names(place) == set()
    with locks.hold(place, "busy"):
        pass


def test_a_lock_is_given_up_when_a_job_fails(place):
    with pytest.raises(ZeroDivisionError), locks.hold(place, "busy"):
        raise ZeroDivisionError
    with locks.hold(place, "busy"):
        pass


def test_a_lease_says_whose_it_is(gs_bucket):
    told = pytest.raises(UserError, match=r"busy \(by .* process ")
    with locks.hold(gs_bucket, "busy"), told, locks.hold(gs_bucket, "busy"):
        pass


def test_a_lease_that_nobody_renews_is_taken_over(bucket):
    old = {"owner": "gone", "token": "1", "time": str(time.time() - locks.LEASE_S - 1)}
    storage.write_text(f"{bucket}/{locks.LOCK}", json.dumps(old))
    with locks.hold(bucket, "busy"):
        assert json.loads(storage.read_text(f"{bucket}/{locks.LOCK}"))["owner"] != "gone"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_lease_of_a_process_that_ended_here_is_taken_over_at_once(gs_bucket):
    program = "import sys, time; from groundwork import locks\n"
    program += "with locks.hold(sys.argv[1], ''): print('held', flush=True); time.sleep(600)"
    arguments = [sys.executable, "-c", program, gs_bucket]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="busy"), locks.hold(gs_bucket, "busy"):
            pass
        process.kill()
        process.wait()
        with locks.hold(gs_bucket, "busy"):
            pass
    lease = {"owner": "x", "token": "1", "time": str(time.time())}
    of_another = f"{'0' * 36} {locks._process(os.getpid()).split()[1]} 1 1"
    storage.write_text(f"{gs_bucket}/{locks.LOCK}", json.dumps(lease | {"process": of_another}))
    with pytest.raises(UserError, match="killed elsewhere"), locks.hold(gs_bucket, "busy"):
        pass


def test_a_lease_is_renewed(gs_bucket, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.5)
    with locks.hold(gs_bucket, "busy"):
        time.sleep(1)
        with pytest.raises(UserError, match="busy"), locks.hold(gs_bucket, "busy"):
            pass


def test_a_lease_that_was_lost_is_an_error(gs_bucket, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.5)
    other = {"owner": "other", "token": "2", "time": str(time.time() + 60)}
    with pytest.raises(JobError, match="another job took"), locks.hold(gs_bucket, "busy"):
        storage.write_text(f"{gs_bucket}/{locks.LOCK}", json.dumps(other))
        time.sleep(1)
    assert storage.exists(f"{gs_bucket}/{locks.LOCK}")  # the other one's
