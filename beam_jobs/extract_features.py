"""Features of every image of a dataset, from an exported SavedModel: for probes on large corpora.

    python -m beam_jobs.extract_features --model runs/photos/export --input datasets/photos \\
        --output features/photos

Writes one file a shard, in the order of the shard: keys, labels and features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from beam_jobs import cli
from beam_jobs.dataset import dataset_reader
from beam_jobs.engines import engine
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line, storage
from groundwork.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

_MODULE = "beam_jobs.extract_features"


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Run the `features` signature of an exported model over a dataset folder."""

    model: str
    """Folder of the SavedModel, as pipeline.export writes it."""
    input: str
    """Dataset folder, complete."""
    output: str
    """Folder for the features, one file a shard."""
    format: Literal["npz", "parquet"] = "npz"
    """Format of the files. npz: arrays key [n], label [n] and features [n, width]; parquet: the
    same as columns. Of images with several labels, label is [n, labels], filled up with -1."""
    splits: list[str] = field(default_factory=list)
    """Splits to take; none: all."""
    batch_size: int = 64
    """Images given to the model at once, at most."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    if options.batch_size < 1:
        raise UserError(f"--batch_size {options.batch_size}: give at least 1")
    if not storage.exists(storage.join(options.model, "saved_model.pb")):
        raise UserError(f"--model {options.model} is no SavedModel: python -m pipeline.export")
    dataset = dataset_reader.open_dataset(options.input, options.splits)
    total = sum(map(sum, dataset.lengths.values()))
    print(f"extract_features: {total:,} images of {options.input}, {options.describe()}")
    if not storage.is_remote(options.output):
        Path(options.output).mkdir(parents=True, exist_ok=True)
    engine.run(lambda pipeline: _build(pipeline, dataset, options), options, total=total)
    print(f"{options.output}: {len(dataset.shards):,} files, {total:,} images")


def _build(
    pipeline: beam.Pipeline, dataset: dataset_reader.Dataset, options: Options
) -> beam.PCollection[None]:
    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference

    from beam_jobs.inspection.feature_model import FeatureModel, read_images, write_features

    return (
        pipeline
        | "Shards" >> beam.Create(dataset.shards)
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(read_images, dataset.folder)
        | "Features" >> RunInference(FeatureModel(options.model, options.batch_size))
        | "By shard" >> beam.GroupBy(lambda features: features.shard)
        | "Write" >> beam.Map(write_features, options.output, options.format)
    )


if __name__ == "__main__":
    cli.run_main(_MODULE)
