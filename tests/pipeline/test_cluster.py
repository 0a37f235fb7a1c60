"""Who trains together: from --workers, TF_CONFIG and Slurm."""

from __future__ import annotations

import json
import socket

import pytest

from groundwork.errors import UserError
from pipeline.check_config import check_config
from pipeline.training.cluster import Cluster, expand_node_list, find_cluster


def tf_config(index=0, kind="worker", **jobs):
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def slurm(**changes):
    return {
        "SLURM_JOB_ID": "20017",
        "SLURM_PROCID": "2",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "node[2,10]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_NODEID": "1",
        "SLURM_LOCALID": "0",
    } | changes


def test_nothing_is_no_cluster():
    assert find_cluster(None, None, {}) is None
    assert find_cluster(None, None, {"TF_CONFIG": "{}"}) is None
    assert find_cluster(None, None, slurm(SLURM_STEP_NUM_TASKS="1")) is None


def test_workers_with_an_index():
    assert find_cluster("a:1, b:2", 1, {}) == Cluster(("a:1", "b:2"), 1, "--workers")


def test_the_index_is_that_of_this_machine():
    name = socket.gethostname()
    assert find_cluster(f"elsewhere:1,{name}:1", None, {}).index == 1


@pytest.mark.parametrize(
    ("workers", "index", "message"),
    [
        ("a:1,b:1", None, "is 0 times in the list: say .* --worker_index 0 to 1"),
        (f"{socket.gethostname()}:1,{socket.gethostname()}:2", None, "is 2 times"),
        ("a:1,b:1", 2, "--worker_index is 2, with 2 workers: choose from 0 to 1"),
        ("a:1,b", 0, "'b' is not host:port"),
        ("a:1,a:1", 0, "twice"),
        (None, 0, "worker_index is given without workers"),
    ],
)
def test_workers_that_cannot_be(workers, index, message):
    with pytest.raises(UserError, match=message):
        find_cluster(workers, index, {})


def test_a_chief_comes_before_the_workers():
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    workers = ("c:1", "a:1", "b:1")
    assert find_cluster(None, None, tf_config(**jobs, kind="chief")) == Cluster(
        workers, 0, "TF_CONFIG"
    )
    assert find_cluster(None, None, tf_config(1, **jobs)).index == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not what TensorFlow expects"),
        ("[1]", "not what TensorFlow expects"),
        (tf_config(2, worker=["a:1", "b:1"])["TF_CONFIG"], "worker index is 2, with 2 workers"),
        (tf_config(worker=["a:1"], ps=["p:1"])["TF_CONFIG"], "tasks of type ps"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "2 workers, but does not say which of them"),
    ],
)
def test_a_tf_config_that_cannot_be(text, message):
    with pytest.raises(UserError, match=message):
        find_cluster(None, None, {"TF_CONFIG": text})


def test_workers_and_tf_config_may_not_contradict_each_other():
    same = tf_config(1, worker=["a:1", "b:1"])
    assert find_cluster("a:1,b:1", 1, same).source == "--workers"
    with pytest.raises(UserError, match=r"a:1,b:1 \(index 0\), but TF_CONFIG .*unset one"):
        find_cluster("a:1,b:1", 0, same)


def test_slurm_tasks_are_counted_by_place():
    found = find_cluster(None, None, slurm())
    assert found.workers == ("node2:12017", "node2:12018", "node10:12017")
    assert found.index == 2
    # Dealt out in turn, rank 1 is the first on the second node.
    assert find_cluster(None, None, slurm(SLURM_PROCID="1")).index == 2
    assert find_cluster(None, None, slurm(SLURM_NODEID="0", SLURM_LOCALID="1")).index == 1


def test_what_is_given_comes_before_slurm():
    assert find_cluster("a:1,b:1", 0, slurm()).source == "--workers"
    assert find_cluster(None, None, slurm() | tf_config(worker=["a:1"])).source == "TF_CONFIG"


@pytest.mark.parametrize(
    "change",
    [
        {"SLURM_STEP_TASKS_PER_NODE": "2"},
        {"SLURM_STEP_TASKS_PER_NODE": "some"},
        {"SLURM_STEP_NODELIST": "node[2-x]"},
        {"SLURM_NODEID": "7"},
    ],
)
def test_a_slurm_step_that_is_not_understood_says_what_to_do(change):
    with pytest.raises(UserError, match="give --workers"):
        find_cluster(None, None, slurm(**change))


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("n1", ["n1"]),
        ("n1,m2", ["n1", "m2"]),
        ("n[1-3,07],m", ["n1", "n2", "n3", "n07", "m"]),
        ("gpu[008-011]", ["gpu008", "gpu009", "gpu010", "gpu011"]),
        ("r[1-2]n[1-2].x", ["r1n1.x", "r1n2.x", "r2n1.x", "r2n2.x"]),
    ],
)
def test_node_lists(text, nodes):
    assert expand_node_list(text) == nodes


def test_the_configuration_is_checked_before_anything_starts(config, change):
    with pytest.raises(UserError, match=r"--workers .*TF_CONFIG.*srun.*launch_local"):
        check_config(change(config, strategy="multi_worker"))
    with pytest.raises(UserError, match="workers are for strategy multi_worker, not for mirrored"):
        check_config(change(config, strategy="mirrored", workers="a:1,b:1"))
