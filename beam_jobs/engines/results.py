"""The results of a job that come back to who started it, by way of storage that both reach.

A worker writes them in parts of a bounded number, so no element grows with the job; a part that is
written again, as engines do after a fault, replaces itself.
"""

from __future__ import annotations

import contextlib
import pickle
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_jobs.engines import spark
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import storage
from groundwork.errors import UserError

_PARTS = 64


@contextlib.contextmanager
def folder(options: EngineOptions) -> Iterator[str]:
    """A folder that the workers reach and this process does, for as long as the job runs.

    Raises:
        UserError: the workers are elsewhere, and --beam_args names no place that they reach.
    """
    arguments = options.beam_arguments
    given = _value(arguments, "--temp_location")
    if given:
        place = storage.join(given, f"beam_jobs-{uuid.uuid4().hex}")
        try:
            yield place
        finally:
            if not options.check:
                storage.delete_folder(place)
        return
    if not options.check and not _on_this_machine(options.runner, arguments):
        raise UserError(
            f"--runner {options.runner}: add --temp_location=FOLDER to --beam_args, a folder or "
            "bucket that the workers reach too, for what they find"
        )
    with tempfile.TemporaryDirectory(prefix="beam_jobs_results_") as local:
        yield local


def _on_this_machine(runner: str, arguments: list[str]) -> bool:
    if runner == "portable":
        return _value(arguments, "--environment_type") == "LOOPBACK"
    if runner == "dask":
        return not any(argument.startswith("--dask_") for argument in arguments)
    if runner == "spark":
        return spark.is_local(arguments)
    return runner != "dataflow"


def _value(arguments: list[str], name: str) -> str:
    """The value of an option, given as `--name value` or `--name=value`."""
    for place, argument in enumerate(arguments):
        own, equals, value = argument.partition("=")
        if own == name:
            return value if equals else "".join(arguments[place + 1 : place + 2])
    return ""


def keep(results: beam.PCollection[Any], place: str) -> None:
    """Add the steps that write the results of a pipeline."""
    _ = (
        results
        | "Pickle" >> beam.Map(_pickled)
        | "Into parts" >> beam.GroupByKey()
        | "Keep" >> beam.Map(_write_part, place)
    )


def _pickled(element: Any) -> tuple[int, bytes]:
    data = pickle.dumps(element)
    return zlib.crc32(data) % _PARTS, data


def _write_part(part: tuple[int, Iterable[bytes]], place: str) -> None:
    number, elements = part
    with storage.create(storage.join(place, f"part-{number:02d}")) as file:
        for data in elements:
            file.write(data)


def read(place: str) -> Iterator[Any]:
    """The results, in no particular order."""
    for name in sorted(storage.names(place)):
        # a pickle says where it ends; behind the last one there is nothing
        with (
            contextlib.suppress(EOFError),
            storage.open_binary(storage.join(place, name)) as file,
        ):
            while True:
                yield pickle.load(file)
