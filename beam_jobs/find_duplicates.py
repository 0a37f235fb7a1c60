"""Find images that are near-duplicates of each other, or of another dataset's images.

    python -m beam_jobs.find_duplicates --input datasets/photos --against datasets/test \\
        --output reports/duplicates

Big Transfer (appendix C) removes near-duplicates of the downstream test images from the
pre-training set. Writes `pairs.jsonl`, `exclude.txt` for `build_dataset --exclude`, and
`index.html`, which shows the pairs side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from beam_jobs.dataset import dataset_reader
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.engines import engine, job_process
from groundwork import command_line, storage
from groundwork.errors import UserError

_MODULE = "beam_jobs.find_duplicates"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(DuplicateOptions, argv, prog=f"python -m {_MODULE}")
    most = 400 if options.features else 100
    if not 0 <= options.distance <= most:
        raise UserError(f"--max_distance {options.distance} is not from 0 to {most}")
    if options.batch_size < 1:
        raise UserError(f"--batch_size {options.batch_size}: give at least 1")
    files = storage.join(options.features or "", "saved_model.pb")
    if options.features and not options.check and not storage.exists(files):
        raise UserError(
            f"--features {options.features} is no SavedModel: python -m pipeline.export"
        )
    folders = [options.input, *options.against]
    datasets = [dataset_reader.open_dataset(folder, check=options.check) for folder in folders]
    if not options.check:
        storage.make_output_folder(options.output)
    total = sum(sum(map(sum, dataset.lengths.values())) for dataset in datasets)
    print(f"find_duplicates: {total:,} images of {', '.join(folders)}, {options.describe()}")

    from beam_jobs.duplicates import duplicate_report, pair_search

    corpus = pair_search.Corpus.of(datasets)
    found = engine.collect(
        lambda pipeline: pair_search.search(pipeline, corpus, options), options, total=total
    )
    if not options.check:
        pairs = pair_search.gather(found, corpus, against=bool(options.against))
        duplicate_report.write(pairs, corpus.own, options)


if __name__ == "__main__":
    job_process.run_main(_MODULE)
