"""Check every byte of a dataset folder against what its metadata says.

    python -m beam_jobs.verify_dataset --input datasets/photos

Exit status 0: all is well; 1: something is wrong, with one line for each fault and the command that
mends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.dataset import dataset_reader
from beam_jobs.engines import engine, job_process
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line
from groundwork.errors import JobError

_MODULE = "beam_jobs.verify_dataset"
_SHOWN = 20
"""Faults that are printed; the rest is counted."""


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Check a dataset folder: checksums, images, labels, keys and counts."""

    input: str
    """Dataset folder, complete, with the features image and label. Of one that TFDS made, records,
    images, labels and counts are checked; of one made here, also keys and each file's SHA-256."""
    image_timeout: float = 30.0
    """Seconds that decoding one image may take."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job.

    Raises:
        JobError: the dataset has faults.
    """
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    dataset = dataset_reader.open_dataset(options.input, check=options.check)
    total = sum(map(sum, dataset.lengths.values()))
    print(f"verify_dataset: {total:,} images in {options.input}, {options.describe()}")

    # here: jsonargparse would import Beam for --help, were it named above
    from beam_jobs.inspection.verify_shard import find_faults

    faults = engine.collect(
        lambda pipeline: find_faults(pipeline, dataset, options.image_timeout), options, total=total
    )
    if options.check:
        return
    for fault in sorted(faults)[:_SHOWN]:
        print(f"  {fault.text}")
    if len(faults) > _SHOWN:
        print(f"  and {len(faults) - _SHOWN:,} more")
    if faults:
        from beam_jobs.inspection import mending

        remedy = mending.command(options.input, [fault.shard for fault in faults])
        raise JobError(f"{options.input} has {len(faults):,} faults, mend them with: {remedy}")
    print(f"{options.input}: {total:,} images, {len(dataset.shards):,} shards, no fault")


if __name__ == "__main__":
    job_process.run_main(_MODULE)
