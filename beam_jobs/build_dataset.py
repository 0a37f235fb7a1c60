"""Turn a corpus of images into a dataset folder.

    python -m beam_jobs.build_dataset --input photos --output datasets/photos

Keys are shuffled, never bytes: the job lists the images, hashes each key to a split, a shard and a
place in it, and groups only the locators. One worker then reads, checks and streams one shard to
its file. So memory does not grow with the corpus, no image crosses the network twice, a shard is
what a later run can skip, and the bytes are the same on any runner with any number of workers.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence

from beam_jobs.corpus import splits
from beam_jobs.corpus.corpus_options import CorpusOptions
from beam_jobs.corpus.table_rows import parse_columns
from beam_jobs.dataset.extra_features import check_name
from beam_jobs.engines import job_process
from groundwork import command_line
from groundwork.errors import UserError

_MODULE = "beam_jobs.build_dataset"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(CorpusOptions, argv, prog=f"python -m {_MODULE}")
    _check(options)
    from beam_jobs.corpus import corpus_job

    corpus_job.run(options)


def _check(options: CorpusOptions) -> None:
    splits.parse(options.splits)
    if not options.input:
        raise UserError("--input: give at least one folder")
    if not 0 <= options.max_rejected <= 1:
        raise UserError(f"--max_rejected {options.max_rejected} is not a share from 0 to 1")
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality {options.quality} is not from 1 to 100")
    _check_window(options.window)
    parse_columns(options.columns, ())
    for names in options.keep:
        for name in names.split(","):
            check_name(name)
    if options.separator not in (None, "tab") and len(options.separator or "") != 1:
        raise UserError(f"--separator {options.separator!r}: give one character, or tab")
    try:
        codecs.lookup(options.encoding)
    except LookupError as error:
        raise UserError(f"--encoding {options.encoding}: Python knows no such encoding") from error
    if options.retries < 0:
        raise UserError(f"--retries {options.retries} is negative")
    if options.download_timeout <= 0:
        raise UserError(f"--download_timeout {options.download_timeout}: give more than 0 seconds")
    positive = ("min_size", "max_size", "max_pixels", "shard_size", "shards")
    for name in (*positive, "connections", "host_connections"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: give at least 1")
    if options.image_timeout <= 0:
        raise UserError(f"--image_timeout {options.image_timeout}: give more than 0 seconds")


def _check_window(window: tuple[float, float] | None) -> None:
    if window is None:
        return
    low, high = window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"--window {low:g} {high:g}: give the value of black, then a larger one of white"
        )


if __name__ == "__main__":
    job_process.run_main(_MODULE)
