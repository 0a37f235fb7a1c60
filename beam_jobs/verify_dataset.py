"""Check every byte of a dataset folder against what its metadata says.

    python -m beam_jobs.verify_dataset --input datasets/photos

Exit status 0: all is well; 1: something is wrong, with one line for each fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_jobs import cli
from beam_jobs.dataset import dataset_reader
from beam_jobs.engines import engine
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line
from groundwork.errors import JobError

if TYPE_CHECKING:
    import apache_beam as beam

_MODULE = "beam_jobs.verify_dataset"
_SHOWN = 20
"""Faults that are printed; the rest is counted."""


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Check a dataset folder: checksums, images, labels, keys and counts."""

    input: str
    """Dataset folder, complete, with the features image, label and key."""
    image_timeout: float = 30.0
    """Seconds that decoding one image may take."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job.

    Raises:
        JobError: the dataset has faults.
    """
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    dataset = dataset_reader.open_dataset(options.input)
    total = sum(map(sum, dataset.lengths.values()))
    print(f"verify_dataset: {total:,} images in {options.input}, {options.describe()}")
    faults = engine.collect(
        lambda pipeline: _build(pipeline, dataset, options.image_timeout), options, total=total
    )
    for fault in sorted(faults)[:_SHOWN]:
        print(f"  {fault}")
    if len(faults) > _SHOWN:
        print(f"  and {len(faults) - _SHOWN:,} more")
    if faults:
        raise JobError(f"{options.input} has {len(faults):,} faults: write it again")
    print(f"{options.input}: {total:,} images, {len(dataset.shards):,} shards, no fault")


def _build(
    pipeline: beam.Pipeline, dataset: dataset_reader.Dataset, timeout: float
) -> beam.PCollection[str]:
    import apache_beam as beam

    from beam_jobs.inspection.verify_shard import KEYS, VerifyShard

    results = (
        pipeline
        | "Shards" >> beam.Create(dataset.shards)
        | "Spread" >> beam.Reshuffle()
        | "Verify" >> beam.ParDo(VerifyShard(dataset, timeout)).with_outputs(KEYS, main="faults")
    )
    duplicates = (
        results[KEYS] | "Group" >> beam.GroupByKey() | "Duplicates" >> beam.FlatMap(_duplicates)
    )
    return (results["faults"], duplicates) | "All faults" >> beam.Flatten()


def _duplicates(group: tuple[int, Iterable[tuple[str, str]]]) -> Iterator[str]:
    """Faults among the records whose keys have the same hash."""
    first: dict[str, str] = {}
    for where, key in sorted(group[1]):
        if key in first:
            yield f"{where}: key {key!r} is also that of {first[key]}"
        else:
            first[key] = where


if __name__ == "__main__":
    cli.run_main(_MODULE)
