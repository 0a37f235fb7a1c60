"""Google Cloud Dataflow: the pipeline for it, and a check of the job that needs no network."""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from beam_jobs.engines.engine_options import EngineOptions
from groundwork.errors import JobError, UserError

if TYPE_CHECKING:
    import apache_beam as beam

_REQUIRED = ("project", "region", "temp_location")
_CODE = ("setup_file", "sdk_container_image", "extra_package")
"""Options of which one must bring this package to the workers."""
_FOLDER = Path(__file__).resolve().parents[2]
_PACKAGES = ("beam_jobs", "groundwork")

_LOAD = """
import base64, importlib, json, sys
package, payloads = json.load(sys.stdin)
# only what is installed and what would be staged: no checkout, installed as editable or not
sys.path = [package] + [path for path in sys.path if path != sys.argv[1]]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import beam_jobs
assert beam_jobs.__file__.startswith(package), beam_jobs.__file__
from apache_beam.internal import pickler
for name, payload in payloads:
    try:
        pickler.loads(base64.b64decode(payload))
    except Exception as error:
        sys.exit(f"{name}: {type(error).__name__}: {error}")
"""


def pipeline(arguments: list[str]) -> beam.Pipeline:
    """An empty pipeline for Dataflow.

    Raises:
        UserError: the extra is not installed, or an option is missing that Dataflow needs.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise UserError("--runner dataflow needs pip install 'vit-keras-pipeline[gcp]'") from error
    given = {argument.partition("=")[0].lstrip("-") for argument in arguments}
    missing = [f"--{name}=…" for name in _REQUIRED if name not in given]
    if missing:
        raise UserError(f"--runner dataflow: add {' '.join(missing)} to --beam_args")
    if not given & set(_CODE):
        raise UserError(
            "--runner dataflow: workers need this package; add --sdk_container_image=IMAGE (see "
            "beam_jobs/Dockerfile) or --setup_file=./setup.py to --beam_args"
        )
    try:
        return beam.Pipeline(DataflowRunner(), PipelineOptions(arguments))
    except ValueError as error:
        raise UserError(f"--beam_args: {' '.join(str(error).split())}") from error


def check(build: Callable[[beam.Pipeline], Any], options: EngineOptions) -> None:
    """Build the job for Dataflow, check it, and print what would run. Nothing is submitted.

    Raises:
        UserError: options are missing, or something in the job calls the network.
        JobError: a worker could not load a transform.
    """
    if options.runner != "dataflow":
        raise UserError("--check is for --runner dataflow")
    arguments = [*shlex.split(options.beam_args), "--dry_run=True", "--no_auth"]
    with _no_network():
        job = pipeline(arguments)
        build(job)
        job.run()
        runner: Any = job.runner
        proto = runner.proto_pipeline
    payloads = list(_payloads(proto))
    _load_elsewhere(payloads)
    print(f"checked: {len(payloads)} pickled functions load where only the package is staged")
    _describe(proto, job.options)


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    """Let each attempt to connect fail at once; the look-up of credentials hangs for minutes."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> NoReturn:
        raise ConnectionRefusedError(f"the check makes no network call, {address} was asked for")

    socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    except ConnectionRefusedError as error:
        raise UserError(str(error)) from error
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]


def _payloads(proto: Any) -> Iterator[tuple[str, bytes]]:
    """Name and pickled function of each transform that has one."""
    from apache_beam.portability import common_urns
    from apache_beam.portability.api import beam_runner_api_pb2 as api

    par_do = common_urns.primitives.PAR_DO.urn
    for transform in proto.components.transforms.values():
        if transform.spec.urn == par_do:
            payload = api.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
        elif "combine" in transform.spec.urn and transform.spec.payload:
            payload = api.CombinePayload.FromString(transform.spec.payload).combine_fn.payload
        else:
            continue
        if payload:  # Beam's own simplest functions are known by name
            yield transform.unique_name, payload


def _load_elsewhere(payloads: list[tuple[str, bytes]]) -> None:
    """Unpickle in a fresh interpreter that finds this package where it would be staged."""
    with tempfile.TemporaryDirectory() as staged:
        for package in _PACKAGES:
            shutil.copytree(_FOLDER / package, Path(staged) / package)
        encoded = [(name, base64.b64encode(payload).decode()) for name, payload in payloads]
        loaded = subprocess.run(
            [sys.executable, "-I", "-c", _LOAD, str(_FOLDER)],
            input=json.dumps([staged, encoded]),
            cwd=staged,
            capture_output=True,
            text=True,
            check=False,
        )
    if loaded.returncode:
        lines = loaded.stderr.strip().splitlines() or ["no message"]
        raise JobError(f"a worker could not load the job: {lines[-1]}")


def _describe(proto: Any, options: Any) -> None:
    from apache_beam.options import pipeline_options as groups

    print("stages:")
    for root in proto.root_transform_ids:
        for step in proto.components.transforms[root].subtransforms:
            print(f"  {proto.components.transforms[step].unique_name}")
    worker = options.view_as(groups.WorkerOptions)
    cloud = options.view_as(groups.GoogleCloudOptions)
    debug = options.view_as(groups.DebugOptions)
    threads = debug.number_of_worker_harness_threads or "Dataflow's default"
    settings = {
        "project, region": f"{cloud.project}, {cloud.region}",
        "staging": cloud.staging_location or cloud.temp_location,
        "machine": worker.machine_type or "Dataflow's default",
        "workers": f"{worker.num_workers or 1}, at most {worker.max_num_workers or 'no limit'}",
        "autoscaling": worker.autoscaling_algorithm or "Dataflow's default",
        "threads": threads,
    }
    print("workers:")
    for name, value in settings.items():
        print(f"  {name}: {value}")
    print("staged:")
    setup = options.view_as(groups.SetupOptions)
    for name in _CODE:
        value = getattr(worker if name == "sdk_container_image" else setup, f"{name}s", None)
        value = value or getattr(worker if name == "sdk_container_image" else setup, name, None)
        if value:
            print(f"  --{name}: {value}")
    for environment in proto.components.environments.values():
        for artifact in environment.dependencies:
            print(f"  {artifact.role_payload.decode(errors='replace').strip()}")
