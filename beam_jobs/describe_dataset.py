"""Say what is in a dataset folder, as JSON and as a page with pictures.

python -m beam_jobs.describe_dataset --input datasets/photos --output reports/photos
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from beam_jobs.dataset import dataset_reader
from beam_jobs.engines import engine, job_process
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line, pages, storage
from groundwork.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

    from beam_jobs.inspection.describe_shard import Statistics

_MODULE = "beam_jobs.describe_dataset"


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Classes, sizes, channel statistics, equal images and a contact sheet of a dataset folder."""

    input: str
    """Dataset folder, complete."""
    output: str
    """Folder for dataset.json and index.html."""
    pictures: int = 100
    """Images on the contact sheet, drawn at random but the same each time."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    if options.pictures < 0:
        raise UserError(f"--pictures {options.pictures} is negative")
    dataset = dataset_reader.open_dataset(options.input, check=options.check)
    if not options.check:
        storage.make_output_folder(options.output)
    total = sum(map(sum, dataset.lengths.values()))
    print(f"describe_dataset: {total:,} images in {options.input}, {options.describe()}")
    statistics = engine.collect(
        lambda pipeline: _build(pipeline, dataset, options.pictures), options, total=total
    )
    if options.check:
        return

    from beam_jobs.inspection import dataset_page, dataset_report

    report = dataset_report.report(dataset, statistics)
    values = storage.join(options.output, "dataset.json")
    storage.write_text(values, json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
    samples = sorted(sample for shard in statistics for sample in shard.samples)
    page = dataset_page.page(report, dataset.class_names, samples[: options.pictures])
    path = storage.join(options.output, "index.html")
    pages.write(page, path)
    print(dataset_report.lines(report))
    print(f"  more in {values} and, with pictures, {path}")


def _build(
    pipeline: beam.Pipeline, dataset: dataset_reader.Dataset, pictures: int
) -> beam.PCollection[Statistics]:
    import apache_beam as beam

    from beam_jobs.inspection.describe_shard import describe_shard

    return (
        pipeline
        | "Shards" >> beam.Create(dataset.shards)
        | "Spread" >> beam.Reshuffle()
        | "Describe" >> beam.Map(describe_shard, dataset.folder, pictures)
    )


if __name__ == "__main__":
    job_process.run_main(_MODULE)
