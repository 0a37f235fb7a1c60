import json
import time

import pytest

from groundwork import locks, storage
from groundwork.errors import JobError, UserError


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
