"""Features of every image of a dataset, from an exported SavedModel: for probes on large corpora.

    python -m beam_jobs.extract_features --model runs/photos/export --input datasets/photos \\
        --output features/photos

Writes one file a shard, in the order of the shard: keys, labels and features. A job that was
stopped goes on from what is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from beam_jobs.dataset import dataset_folder, dataset_reader
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.shards import Shard
from beam_jobs.engines import engine, job_process
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line, storage
from groundwork.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

_MODULE = "beam_jobs.extract_features"
_OF_A_MODEL = ("saved_model.pb", "variables/variables.index")
"""The graph, and a table of the variables with their checksums."""


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
    dataset = dataset_reader.open_dataset(options.input, options.splits, check=options.check)
    if options.check:
        engine.run(lambda pipeline: _build(pipeline, dataset.shards, options), options)
        return
    job = _job(options)
    with dataset_folder.locked(options.output):
        dataset_folder.begin(options.output, job)
        done = storage.names(options.output)
        missing = [shard for shard in dataset.shards if _file_name(shard, options) not in done]
        todo = sum(dataset.lengths[shard.split][shard.index] for shard in missing)
        print(
            f"extract_features: {len(missing):,} of {len(dataset.shards):,} shards of "
            f"{options.input}, {todo:,} images, {options.describe()}"
        )
        if missing:
            engine.run(lambda pipeline: _build(pipeline, missing, options), options, total=todo)
    total = sum(map(sum, dataset.lengths.values()))
    print(f"{options.output}: {len(dataset.shards):,} files, {total:,} images")


def _job(options: Options) -> Job:
    """What the features are made of: a run with something else is refused."""
    content = [storage.join(options.model, name) for name in _OF_A_MODEL]
    if not storage.exists(content[0]):
        raise UserError(f"--model {options.model} is no SavedModel: python -m pipeline.export")
    # its metadata name each shard's SHA-256, or at least its length
    for name in (dataset_folder.COMPLETED, "dataset_info.json"):
        content.append(storage.join(options.input, name))
    digest = hashlib.sha256(b"".join(map(storage.read, filter(storage.exists, content))))
    made_from = {"model": options.model, "input": options.input, "format": options.format}
    return Job(_MODULE, made_from | {"content": f"SHA-256 {digest.hexdigest()}"})


def _file_name(shard: Shard, options: Options) -> str:
    return f"{shard.name}.{options.format}"


def _build(
    pipeline: beam.Pipeline, shards: Sequence[Shard], options: Options
) -> beam.PCollection[None]:
    import apache_beam as beam

    from beam_jobs.inspection.feature_model import ExtractShard

    extract = ExtractShard(
        options.model, options.batch_size, options.input, options.output, options.format
    )
    written: beam.PCollection[None] = (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "Spread" >> beam.Reshuffle()
        | "Extract" >> beam.ParDo(extract)
    )
    return written


if __name__ == "__main__":
    job_process.run_main(_MODULE)
