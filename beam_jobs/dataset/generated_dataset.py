"""Dataset folders whose images are computed, not read: one Beam job over their shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from beam_jobs.dataset import dataset_folder, shards, summary
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard
from beam_jobs.engines import engine, progress
from beam_jobs.engines.engine_options import EngineOptions

if TYPE_CHECKING:
    import apache_beam as beam

Generator = Callable[[Shard], Iterable[Example]]
"""Gives the examples of a shard, the same ones on each call. Must pickle."""


def write(
    folder: str,
    job: Job,
    todo: Sequence[Shard],
    generate: Generator,
    options: EngineOptions,
    *,
    class_names: Sequence[str],
    description: str,
    total: int,
) -> None:
    """Write the dataset folder, or what is missing of it, and print its summary.

    Args:
        folder: where to.
        job: what identifies the content.
        todo: all shards of the dataset.
        generate: gives the examples of one shard.
        options: where to run.
        class_names: in the order of the labels.
        description: of the dataset, for people.
        total: examples in all shards, for the progress bar.
    """
    started = time.monotonic()
    if options.check:
        engine.run(lambda pipeline: _build(pipeline, folder, job, list(todo), generate), options)
        return
    with dataset_folder.locked(folder):
        dataset_folder.begin(folder, job)
        if dataset_folder.is_complete(folder):
            print(f"{folder} is complete already; delete it to write it again")
            return
        found = shards.read_manifests(folder, todo)
        missing = [shard for shard, manifest in zip(todo, found, strict=True) if manifest is None]
        if missing:
            print(
                f"{job.name}: {len(missing)} of {len(todo)} shards to write, {options.describe()}"
            )
            engine.run(
                lambda pipeline: _build(pipeline, folder, job, missing, generate),
                options,
                total=total * len(missing) // len(todo),
            )
        manifests = [manifest for manifest in shards.read_manifests(folder, todo) if manifest]
        dataset_folder.complete(
            folder, job, manifests, class_names=class_names, description=description
        )
    summary.show(folder, manifests, len(class_names), time.monotonic() - started)


def _build(
    pipeline: beam.Pipeline, folder: str, job: Job, todo: list[Shard], generate: Generator
) -> None:
    import apache_beam as beam

    _ = (
        pipeline
        | "Shards" >> beam.Create(todo)
        | "Spread" >> beam.Reshuffle()
        | "Write" >> beam.Map(_write_shard, folder, job.fingerprint, generate)
    )


def _write_shard(shard: Shard, folder: str, fingerprint: str, generate: Generator) -> None:
    def counted() -> Iterable[Example]:
        for example in generate(shard):
            yield example
            progress.add(done=1)

    shards.publish(folder, shards.write(folder, shard, fingerprint, counted()))
