"""Turn a corpus of images into a dataset folder.

    python -m beam_jobs.build_dataset --input photos --output datasets/photos

Keys are shuffled, never bytes: the job lists the images, hashes each key to a split, a shard and a
place in it, and groups only the locators. One worker then reads, checks and streams one shard to
its file. So memory does not grow with the corpus, no image crosses the network twice, a shard is
what a later run can skip, and the bytes are the same on any runner with any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from beam_jobs import cli, splits
from beam_jobs.engine_options import EngineOptions
from beam_jobs.errors import UserError

_MODULE = "beam_jobs.build_dataset"


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Turn folders of images into a dataset folder for training."""

    input: list[str]
    """Where the images are, several times and mixed: a folder with CLASS/any/depth/image.jpg; a tar
    file, read in place (class folders, class tars in a tar, or WebDataset with .cls or .json); a
    .csv, .tsv or .jsonl table with path, label and optionally split and key; a pattern such as
    'shards/*.tar'; or a gs:// or s3:// URL of these."""
    output: str
    """Dataset folder to write. A job that was stopped goes on from what is there."""
    splits: str = "train:0.9,validation:0.1"
    """Splits and their shares. A stable hash of an image's key decides where it goes."""
    max_rejected: float = 0.01
    """Share of bad images, from 0 to 1, above which the job fails."""
    label_from: Literal["auto", "archive"] = "auto"
    """Labels of images in tar files. auto: the label member beside the image, the class tar within
    the tar, or the first folder inside it; archive: the name of the tar file, as for ImageNet's
    class tars once they are taken out of their own."""
    class_names: str | None = None
    """File with a line LABEL NAME for each class, such as ImageNet's synset list. It gives classes
    their names, their order and their number; a label that it lacks is an error."""
    multi_label: bool = False
    """Images have any number of labels: the feature `label` becomes a sequence."""
    exclude: str | None = None
    """File of keys to leave out, one a line, as find_duplicates writes it. A line that begins with
    a quotation mark is a JSON string, for keys with line breaks."""
    max_size: int | None = None
    """Scale larger images down until their shorter side has this many pixels; null: never."""
    min_size: int = 1
    """Reject images whose shorter side has fewer pixels."""
    max_pixels: int = 100_000_000
    """Reject images with more pixels by their header, before decoding: decompression bombs."""
    quality: int = 95
    """JPEG quality, 1 to 100, of images that must be encoded anew. Clean ones keep their bytes."""
    image_timeout: float = 30.0
    """Seconds that decoding one image may take."""
    on_duplicate_key: Literal["error", "drop", "rename"] = "error"
    """Two images with the same path below their inputs: fail, keep the first, or number them."""
    shard_size: int = 128
    """Size of a shard to aim at, in MB of images as they are stored in the corpus."""
    shards: int | None = None
    """Number of shards of each split, instead of --shard_size."""
    retry_rejected: bool = False
    """Do those shards again that have rejected images, also in a complete dataset folder."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = cli.parse(Options, argv, prog=f"python -m {_MODULE}")
    _check(options)
    from beam_jobs import corpus_job

    corpus_job.run(options)


def _check(options: Options) -> None:
    splits.parse(options.splits)
    if not options.input:
        raise UserError("--input: give at least one folder")
    if not 0 <= options.max_rejected <= 1:
        raise UserError(f"--max_rejected {options.max_rejected} is not a share from 0 to 1")
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality {options.quality} is not from 1 to 100")
    for name in ("min_size", "max_size", "max_pixels", "shard_size", "shards"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: give at least 1")
    if options.image_timeout <= 0:
        raise UserError(f"--image_timeout {options.image_timeout}: give more than 0 seconds")


if __name__ == "__main__":
    cli.run_main(_MODULE)
