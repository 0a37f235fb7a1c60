"""Find images that are near-duplicates of each other, or of another dataset's images.

    python -m beam_jobs.find_duplicates --input datasets/photos --against datasets/test \\
        --output reports/duplicates

Big Transfer (appendix C) removes near-duplicates of the downstream test images from the
pre-training set. Writes `pairs.jsonl`, `exclude.txt` for `build_dataset --exclude`, and
`index.html`, which shows the pairs side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beam_jobs import cli, dataset_reader, engine
from beam_jobs.engine_options import EngineOptions
from beam_jobs.errors import UserError
from beam_jobs.shards import Shard

if TYPE_CHECKING:
    import apache_beam as beam

    from beam_jobs.hash_shard import Hashes

_MODULE = "beam_jobs.find_duplicates"


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Find near-duplicate images by a perceptual hash: re-encoded, resized, brightened, cropped."""

    input: str
    """Dataset folder to find duplicates in."""
    output: str
    """Folder for pairs.jsonl, exclude.txt and index.html."""
    against: list[str] = field(default_factory=list)
    """Dataset folders, such as test sets, whose images must not occur in --input. None: --input is
    compared with itself, and all but one image of each group of duplicates are to be excluded."""
    max_distance: int = 60
    """Bits of 256 in which the hashes of duplicates may differ. Unrelated photographs differ in 85
    or more, nearly always."""
    crops: bool = True
    """Also find copies that lack 5 % at their edges."""
    mirrored: bool = False
    """Also find copies that are mirrored left to right."""
    show: int = 200
    """Pairs in index.html, the least alike first, since that is where mistakes are."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = cli.parse(Options, argv, prog=f"python -m {_MODULE}")
    if not 0 <= options.max_distance <= 100:
        raise UserError(f"--max_distance {options.max_distance} is not from 0 to 100")
    folders = [options.input, *options.against]
    datasets = [dataset_reader.open_dataset(folder) for folder in folders]
    todo = [(dataset.folder, shard) for dataset in datasets for shard in dataset.shards]
    total = sum(sum(map(sum, dataset.lengths.values())) for dataset in datasets)
    print(f"find_duplicates: {total:,} images of {', '.join(folders)}, {options.describe()}")
    hashes = engine.collect(lambda pipeline: _build(pipeline, todo, options), options, total=total)

    from beam_jobs import duplicate_report

    duplicate_report.write(hashes, options)


def _build(
    pipeline: beam.Pipeline, todo: list[tuple[str, Shard]], options: Options
) -> beam.PCollection[Hashes]:
    import apache_beam as beam

    from beam_jobs.hash_shard import HashShard

    return (
        pipeline
        | "Shards" >> beam.Create(todo)
        | "Spread" >> beam.Reshuffle()
        | "Hash" >> beam.ParDo(HashShard(crops=options.crops, mirrored=options.mirrored))
    )


if __name__ == "__main__":
    cli.run_main(_MODULE)
