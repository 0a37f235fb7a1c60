"""Draw a corpus of letters as a dataset folder, to pre-train on without any download.

python -m beam_jobs.render_glyphs --output datasets/glyphs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beam_jobs.dataset import generated_dataset
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard, shards
from beam_jobs.engines import job_process
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line
from groundwork.errors import UserError

_MODULE = "beam_jobs.render_glyphs"
_SHARD_IMAGES = 4096
_MIN_SHARDS = 8
"""Enough for as many readers."""


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Draw letters (Latin, Greek, Cyrillic; no digits) as a dataset folder of 32×32 PNG images.

    Each is drawn in one of 16 fonts with its own pen width, affine warp, wobble, blur or coarse
    resolution, contrast and noise. The same options give the same bytes.
    """

    output: str
    """Dataset folder to write."""
    per_class: int = 300
    """Training images of each letter."""
    validation_per_class: int = 30
    """Validation images of each letter."""
    seed: int = 0
    """Another seed draws other images."""


@dataclass(frozen=True)
class Glyphs:
    """The images of a shard."""

    seed: int
    images: dict[str, int]
    """Number of images in each split."""

    def __call__(self, shard: Shard) -> Iterator[Example]:
        """Draw image `index`, `index + count`, … of the split, in a random order."""
        import numpy as np

        from beam_jobs.drawing import glyphs

        split = sorted(self.images).index(shard.split)
        numbers = np.arange(shard.index, self.images[shard.split], shard.count)
        np.random.default_rng([self.seed, split, shard.index]).shuffle(numbers)
        for number in numbers.tolist():
            # the class counts up, so that each shard has all of them
            label, instance = number % len(glyphs.LETTERS), number // len(glyphs.LETTERS)
            letter = glyphs.LETTERS[label]
            rng = np.random.default_rng([self.seed, split, label, instance])
            yield Example(
                image=glyphs.encode(glyphs.render(letter, rng)),
                labels=(label,),
                key=f"{shard.split}/{letter}/{instance}",
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    for name in ("per_class", "validation_per_class"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: give at least 1")
    from beam_jobs.drawing.glyphs import LETTERS

    images = {
        "train": options.per_class * len(LETTERS),
        "validation": options.validation_per_class * len(LETTERS),
    }
    todo = [
        shard
        for split, count in images.items()
        for shard in shards("glyphs", split, max(_MIN_SHARDS, -(-count // _SHARD_IMAGES)))
    ]
    generated_dataset.write(
        options.output,
        Job(_MODULE, {"seed": options.seed, **images}),
        todo,
        Glyphs(options.seed, images),
        options,
        class_names=list(LETTERS),
        description=f"Letters of {len(LETTERS)} shapes, drawn under random distortions.",
        total=sum(images.values()),
    )


if __name__ == "__main__":
    job_process.run_main(_MODULE)
