"""The same bytes from every engine that runs on one machine, and the check for Dataflow."""

import importlib
import os
import subprocess
import sys
import time

import pytest
from beam_corpus import REPOSITORY, command, contents, make_folder

from beam_jobs import build_dataset
from beam_jobs.engines import dataflow, engine
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import filesystems
from groundwork.errors import JobError, UserError

CLOUD = "--project=my-project --region=us-central1 --temp_location=gs://bucket/tmp"
IMAGE = "--sdk_container_image=registry/image"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("corpus"))


def build(corpus, folder, *arguments: str) -> dict[str, str]:
    common = ["--input", str(corpus), "--output", str(folder), "--shards", "4"]
    build_dataset.main([*common, *arguments])
    return contents(folder)


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory):
    return build(corpus, tmp_path_factory.mktemp("r") / "d", "--runner", "in_process")


def test_embed_writes_the_same_bytes(corpus, reference, tmp_path):
    assert build(corpus, tmp_path / "d", "--runner", "embed") == reference


def test_a_job_service_writes_the_same_bytes(corpus, reference, tmp_path):
    """Beam's own job service in a process of its own, in the place of Flink's or Spark's."""
    service = "apache_beam.runners.portability.local_job_service_main"
    port = tmp_path / "port"
    server = command(service, "--port_file", str(port), "--staging_dir", str(tmp_path / "staging"))
    try:
        deadline = time.monotonic() + 60
        while not port.exists() or not port.read_text():
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        endpoint = f"--job_endpoint=localhost:{port.read_text()} --environment_type=LOOPBACK"
        arguments = ["--runner", "portable", "--beam_args", endpoint]
        assert build(corpus, tmp_path / "d", *arguments) == reference
    finally:
        server.kill()
        server.communicate()


def test_a_job_service_that_is_not_named():
    options = EngineOptions(runner="portable", beam_args="--job_endpoint=localhost:8099")
    with pytest.raises(UserError, match="needs --environment_type"):
        engine.run(lambda pipeline: None, options)


def test_dask_writes_the_same_bytes(corpus, reference, tmp_path):
    # in a process of its own: Dask's cluster starts its workers from the main module
    arguments = ["--input", str(corpus), "--output", str(tmp_path / "d"), "--shards", "4"]
    job = command("beam_jobs.build_dataset", *arguments, "--runner", "dask", "--workers", "2")
    _, errors = job.communicate(timeout=180)
    assert job.returncode == 0, errors
    assert "distributed" not in errors  # its messages, a line for each worker and more
    assert contents(tmp_path / "d") == reference


ON_SPARK = """
import json, sys
from beam_jobs import build_dataset, verify_dataset
from groundwork.errors import UserError
corpus, folder, table = sys.argv[1:]
spark = ["--runner", "spark", "--workers", "2"]
build_dataset.main(["--input", corpus, "--output", folder, "--shards", "4", *spark])
for job, arguments in (
    (verify_dataset, ["--input", folder]),
    (build_dataset, ["--input", table, "--output", f"{folder}-2"]),
):
    try:
        job.main([*arguments, *spark])
    except UserError as error:
        print(f"{type(error).__name__}: {error}")
"""


def test_spark_writes_the_same_bytes(corpus, reference, tmp_path):
    """On a local master, in a process of its own; results and errors come back in one line each."""
    table = tmp_path / "t.csv"
    table.write_text("path,label\n,a\n")
    script = tmp_path / "on_spark.py"
    script.write_text(ON_SPARK)
    job = subprocess.run(
        [sys.executable, str(script), str(corpus), str(tmp_path / "d"), str(table)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        timeout=300,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    assert contents(tmp_path / "d") == reference
    assert "shards, no fault" in job.stdout
    assert job.stdout.splitlines()[-1] == f"UserError: {table} line 2 has no path"


def test_spark_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(UserError, match=r"pip install 'vit-keras-pipeline\[spark\]'"):
        engine.run(lambda pipeline: None, EngineOptions(runner="spark"))


def test_dask_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dask.dask_runner", None)
    with pytest.raises(UserError, match=r"pip install 'vit-keras-pipeline\[dask\]'"):
        engine.run(lambda pipeline: None, EngineOptions(runner="dask"))


def dataflow_command(beam_args: str) -> list[str]:
    job = ["--input", "gs://bucket/photos", "--output", "gs://bucket/datasets/photos"]
    return [*job, "--runner", "dataflow", "--check", "--beam_args", beam_args]


def test_dataflow_check_builds_the_job_and_submits_nothing(capsys):
    workers = "--machine_type=n2-highmem-4 --max_num_workers=50"
    build_dataset.main(dataflow_command(f"{CLOUD} {IMAGE} {workers}"))
    printed = capsys.readouterr().out
    assert "pickled functions load where only the package is staged" in printed
    for expected in ("List", "Write", "my-project, us-central1", "n2-highmem-4", "at most 50"):
        assert expected in printed
    assert "registry/image" in printed


@pytest.mark.parametrize(
    ("beam_args", "message"),
    [
        ("--project=my-project", r"add --region=… --temp_location=… to --beam_args"),
        (CLOUD, r"workers need this package; add --sdk_container_image=IMAGE"),
        (f"{CLOUD} {IMAGE} --project=p", "Invalid Project ID"),
    ],
)
def test_dataflow_options_that_are_missing_are_named(beam_args, message):
    with pytest.raises(UserError, match=message):
        build_dataset.main(dataflow_command(beam_args))


def test_dataflow_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dataflow.dataflow_runner", None)
    with pytest.raises(UserError, match=r"pip install 'vit-keras-pipeline\[gcp\]'"):
        dataflow.pipeline([CLOUD])


def test_what_a_worker_could_not_load_is_named():
    """A function of a module that is not staged."""
    import beam_corpus
    from apache_beam.internal import pickler

    with pytest.raises(JobError, match=r"load the job: Step: ModuleNotFoundError.*beam_c"):
        dataflow._load_elsewhere([("Step", pickler.dumps(beam_corpus.picture))])


def test_check_is_for_dataflow(corpus, tmp_path):
    with pytest.raises(UserError, match="--check is for --runner dataflow"):
        build(corpus, tmp_path / "d", "--check")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("build_dataset", ["--input", "gs://bucket/*.tar", "train=gs://bucket/a", "--output"]),
        ("verify_dataset", ["--input"]),
        ("describe_dataset", ["--output", "gs://bucket/report", "--input"]),
        ("find_duplicates", ["--output", "gs://b/r", "--against", "gs://b/t", "--input"]),
        ("extract_features", ["--model", "gs://b/m", "--output", "gs://b/f", "--input"]),
        ("render_fractals", ["--output"]),
    ],
)
def test_a_check_of_any_job_makes_no_request(job, arguments, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise AssertionError("a request")

    monkeypatch.setattr(filesystems, "_filesystem", refuse)
    cloud = ["--runner", "dataflow", "--check", "--beam_args", f"{CLOUD} {IMAGE}"]
    importlib.import_module(f"beam_jobs.{job}").main([*arguments, "gs://bucket/d", *cloud])
    assert "functions load where only the package is staged" in capsys.readouterr().out
