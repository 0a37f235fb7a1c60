"""How time and memory of the parts that see every image grow, without images.

    python benchmarks/scale.py                       # 200,000 and 1 million entries
    python benchmarks/scale.py --entries 10000000

`listing`: keys and locators go through the pipeline of build_dataset up to the shard that would be
written: plan, assignment, grouping, sorting. `manifests`: the end of a job reads one manifest for
each shard. `duplicates`: hashes, of which 1 % are changed copies, go through the search of
find_duplicates. Each runs on one worker of Spark, which keeps on disk what it groups (`--runner
in_process` keeps it in memory); the time for each million entries and the peak memory of all
processes, Java's included, are printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import beam_throughput
import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
_UNIT = 50_000
"""Entries that one element of the input makes."""
_PER_SHARD = 3_000


def list_entries(unit: tuple[int, int]) -> Iterator[bytes]:
    """Packed entries as of tar members."""
    from beam_jobs.corpus.entries import Entry, pack

    start, end = unit
    for block in range(start, end, 4096):
        entries = []
        for number in range(block, min(block + 4096, end)):
            tar = f"gs://bucket/corpus/part-{number // 10_000:06d}.tar".encode()
            key = f"part-{number // 10_000:06d}.tar/{number:09d}.jpg"
            offset = number % 10_000 * 100_000
            entries.append(Entry(key, (f"class {number % 1000}",), tar, offset, 98_765))
        yield pack(entries)


def count_shard(group: tuple[tuple[str, int], Iterable[bytes]]) -> int:
    """Sort a shard's entries, as WriteShard does."""
    from beam_jobs.corpus import splits
    from beam_jobs.corpus.entries import unpack

    entries = [entry for block in group[1] for entry in unpack(block)]
    entries.sort(key=lambda entry: (splits.key_hash(entry.key), entry))
    return len(entries)


def run_listing(total: int, runner: str) -> None:
    import apache_beam as beam

    from beam_jobs.corpus import corpus_job
    from beam_jobs.corpus.plan import Plan
    from beam_jobs.engines import engine
    from beam_jobs.engines.engine_options import EngineOptions

    plan = Plan(labels=("class",), shards={"train": -(-total // _PER_SHARD)}, images={})

    def build(pipeline: beam.Pipeline) -> Any:
        return (
            pipeline
            | "Units" >> beam.Create(ranges(total))
            | "List" >> beam.FlatMap(list_entries)
            | "Assign" >> beam.FlatMap(corpus_job._assign, plan, {"train": 1.0})
            | "Group" >> beam.GroupByKey()
            | "Sort" >> beam.Map(count_shard)
        )

    counts = engine.collect(build, EngineOptions(runner=runner, workers=1))
    assert sum(counts) == total, sum(counts)


def run_duplicates(total: int, runner: str) -> None:
    import apache_beam as beam

    from beam_jobs.duplicates import pair_search, similar_pairs
    from beam_jobs.engines import engine
    from beam_jobs.engines.engine_options import EngineOptions

    tables = similar_pairs.tables(total)
    starts = np.arange(0, total + _UNIT, _UNIT).clip(max=total)
    parts = max(1, -(-total * 32 // pair_search._PART_BYTES))

    def build(pipeline: beam.Pipeline) -> Any:
        blocks = (
            pipeline
            | "Units" >> beam.Create(ranges(total))
            | "Hash" >> beam.FlatMap(make_blocks, tables, parts)
        )
        pairs = pair_search.unique_pairs(blocks, tables, starts, None, 60)
        return pairs | "Count" >> beam.Map(lambda found: found.shape[1])

    found = sum(engine.collect(build, EngineOptions(runner=runner, workers=1)))
    copies = sum(len(range(start, end, 100)) for start, end in ranges(total))
    assert 0.95 * copies <= found <= copies, (found, copies)


def make_blocks(unit: tuple[int, int], tables: Any, parts: int) -> Iterator[Any]:
    """Random hashes; each hundredth is that of its neighbor but for a few bits."""
    from beam_jobs.duplicates.hash_shard import HashShard, PerceptualHasher

    start, end = unit
    rng = np.random.default_rng(start)
    hashes = rng.integers(0, 256, (end - start, 1, 32), dtype=np.uint8)
    copies = hashes[0::100]
    hashes[1::100] = copies[: len(hashes[1::100])]
    hashes[1::100, 0, 31] ^= 0b111
    hasher = PerceptualHasher(crops=False, mirrored=False)
    yield from HashShard(tables, parts, hasher).blocks(start, hashes)


def run_manifests(total: int, _: str) -> None:
    from beam_jobs.corpus import corpus_job
    from beam_jobs.corpus.plan import Plan
    from beam_jobs.dataset import shards
    from beam_jobs.dataset.shards import Manifest

    count = -(-total // _PER_SHARD)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / shards.MANIFESTS).mkdir()
        for shard in shards.shards("images", "train", count):
            (Path(folder) / shard.file_name).touch()
            manifest = Manifest(shard, "0" * 64, 0, 0, 0, "0" * 64)
            (Path(folder) / shard.manifest_name).write_text(manifest.to_json())
        plan = Plan(labels=("class",), shards={"train": count}, images={"train": 0})
        started = time.monotonic()
        corpus_job._manifests(folder, plan)
        print(f"({count:,} manifests in {time.monotonic() - started:.2f} s)", end=" ")


def ranges(total: int) -> list[tuple[int, int]]:
    return [(start, min(start + _UNIT, total)) for start in range(0, total, _UNIT)]


PARTS = {"listing": run_listing, "manifests": run_manifests, "duplicates": run_duplicates}


def measure(part: str, entries: int, runner: str) -> None:
    """Run one part in processes of its own, and print what it took."""
    print(f"{part:<11}{entries:>12,} entries ", end="", flush=True)
    command = [sys.executable, __file__, "--part", part, str(entries), runner]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    started = time.monotonic()
    peak = 0.0
    process = subprocess.Popen(
        command, start_new_session=True, env=environment, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        peak = max(peak, sum(map(beam_throughput._memory, beam_throughput._session(process.pid))))
        time.sleep(0.5)
    seconds = time.monotonic() - started
    if process.returncode:
        sys.exit(f"failed; to see why: {' '.join(command)}")
    print(
        f"{seconds:7.1f} s, {seconds / entries * 1e6:6.1f} s a million, {peak / 1e6:6,.0f} MB peak"
    )


def main() -> None:
    sys.path.insert(0, str(REPOSITORY))
    if sys.argv[1:2] == ["--part"]:
        PARTS[sys.argv[2]](int(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="*", default=[200_000, 1_000_000])
    parser.add_argument("--runner", choices=("in_process", "spark"), default="spark")
    options = parser.parse_args()
    for part in PARTS:
        for entries in options.entries:
            measure(part, entries, options.runner)


if __name__ == "__main__":
    main()
