"""Draw FractalDB as a dataset folder: classes of fractals, to pre-train on without photographs.

python -m beam_jobs.render_fractals --output datasets/fractaldb_1k --classes 1000
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_jobs.dataset import dataset_folder, generated_dataset
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard, shards
from beam_jobs.engines import engine, job_process, progress
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line, storage
from groundwork.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

_MODULE = "beam_jobs.render_fractals"
_SYSTEMS = "systems.json"
_INSTANCES = 1000
"""Of a class of FractalDB: 25 weights, 4 ways to mirror, 10 patterns of a point."""
_MIN_SHARDS = 8
_SHARD_PIXELS = 4096 * 128 * 128


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Draw FractalDB (Kataoka et al., 2020): 1,000 classes of 1,000 pictures, or any part of it.

    The systems are searched first, by their filling rate. The same options give the same bytes.
    """

    output: str
    """Dataset folder to write."""
    classes: int = 1000
    """Classes: 1,000 for FractalDB-1k, 10,000 for FractalDB-10k."""
    instances: int = _INSTANCES
    """Pictures of each class, at most 1,000: 25 weights × 4 flips × 10 patterns."""
    image_size: int = 362
    """Height and width in pixels. Points are scaled with the area, from 200,000 at 362."""
    seed: int = 1
    """Another seed draws other classes."""


@dataclass(frozen=True)
class Fractals:
    """The images of a shard."""

    folder: str
    seed: int
    classes: int
    instances: int
    image_size: int

    def __call__(self, shard: Shard) -> Iterator[Example]:
        """Draw image `index`, `index + count`, … in a random order."""
        import numpy as np

        from beam_jobs.drawing import fractals

        systems = json.loads(storage.read_text(storage.join(self.folder, _SYSTEMS)))
        numbers = np.arange(shard.index, self.classes * self.instances, shard.count)
        np.random.default_rng([self.seed, shard.index]).shuffle(numbers)
        for number in numbers.tolist():
            label, instance = number % self.classes, number // self.classes
            rng = np.random.default_rng([self.seed, label, instance])
            picture = fractals.render(np.array(systems[label]), instance, rng, self.image_size)
            yield Example(fractals.encode(picture), (label,), f"{label:05d}/{instance:04d}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    if options.classes < 1:
        raise UserError(f"--classes {options.classes}: give at least 1")
    if not 1 <= options.instances <= _INSTANCES:
        raise UserError(f"--instances {options.instances} is not from 1 to {_INSTANCES}")
    if not 16 <= options.image_size <= 4096:
        raise UserError(f"--image_size {options.image_size} is not from 16 to 4096")
    decisive = ("classes", "instances", "image_size", "seed")
    job = Job(_MODULE, {name: getattr(options, name) for name in decisive})
    if not options.check:
        _search_systems(options, job)
    total = options.classes * options.instances
    count = max(min(_MIN_SHARDS, total), -(-total * options.image_size**2 // _SHARD_PIXELS))
    generated_dataset.write(
        options.output,
        job,
        shards("fractals", "train", count),
        Fractals(
            options.output, options.seed, options.classes, options.instances, options.image_size
        ),
        options,
        class_names=[f"{label:05d}" for label in range(options.classes)],
        description=f"FractalDB: {options.classes:,} iterated function systems.",
        total=total,
    )


def _search_systems(options: Options, job: Job) -> None:
    """Find the classes' systems, where an earlier run has not, and keep them in the folder."""
    path = storage.join(options.output, _SYSTEMS)
    with dataset_folder.locked(options.output):
        dataset_folder.begin(options.output, job)
        if storage.exists(path):
            return
        print(f"searching {options.classes:,} systems, {options.describe()}")
        found = engine.collect(
            lambda pipeline: _build_search(pipeline, options),
            options,
            unit="systems",
            total=options.classes,
        )
        storage.write_text(path, json.dumps([params for _, params in sorted(found)]) + "\n")


def _build_search(
    pipeline: beam.Pipeline, options: Options
) -> beam.PCollection[tuple[int, list[list[float]]]]:
    import apache_beam as beam

    return (
        pipeline
        | "Classes" >> beam.Create(range(options.classes))
        | "Spread" >> beam.Reshuffle()
        | "Search" >> beam.Map(_search, options.seed)
    )


def _search(label: int, seed: int) -> tuple[int, list[list[float]]]:
    import numpy as np

    from beam_jobs.drawing import fractals

    # a stream apart from those that draw the instances, which are below 1000
    params = fractals.search(np.random.default_rng([seed, label, 1 << 32]))
    progress.add(done=1)
    return label, params.tolist()


if __name__ == "__main__":
    job_process.run_main(_MODULE)
