"""Find images that are near-duplicates of each other, or of another dataset's images.

    python -m beam_jobs.find_duplicates --input datasets/photos --against datasets/test \\
        --output reports/duplicates

Big Transfer (appendix C) removes near-duplicates of the downstream test images from the
pre-training set. Writes `pairs.jsonl`, `exclude.txt` for `build_dataset --exclude`, and
`index.html`, which shows the pairs side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from beam_jobs import cli
from beam_jobs.dataset import dataset_reader
from beam_jobs.dataset.shards import Shard
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.engines import engine
from groundwork import command_line
from groundwork.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

    from beam_jobs.duplicates.hash_shard import Hashes

_MODULE = "beam_jobs.find_duplicates"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(DuplicateOptions, argv, prog=f"python -m {_MODULE}")
    if not 0 <= options.max_distance <= 100:
        raise UserError(f"--max_distance {options.max_distance} is not from 0 to 100")
    folders = [options.input, *options.against]
    datasets = [dataset_reader.open_dataset(folder) for folder in folders]
    todo = [(dataset.folder, shard) for dataset in datasets for shard in dataset.shards]
    total = sum(sum(map(sum, dataset.lengths.values())) for dataset in datasets)
    print(f"find_duplicates: {total:,} images of {', '.join(folders)}, {options.describe()}")
    hashes = engine.collect(lambda pipeline: _build(pipeline, todo, options), options, total=total)

    from beam_jobs.duplicates import duplicate_report

    duplicate_report.write(hashes, options)


def _build(
    pipeline: beam.Pipeline, todo: list[tuple[str, Shard]], options: DuplicateOptions
) -> beam.PCollection[Hashes]:
    import apache_beam as beam

    from beam_jobs.duplicates.hash_shard import HashShard

    return (
        pipeline
        | "Shards" >> beam.Create(todo)
        | "Spread" >> beam.Reshuffle()
        | "Hash" >> beam.ParDo(HashShard(crops=options.crops, mirrored=options.mirrored))
    )


if __name__ == "__main__":
    cli.run_main(_MODULE)
