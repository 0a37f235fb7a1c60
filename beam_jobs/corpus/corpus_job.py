"""The pipeline of `build_dataset`, and what comes before and after it."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from beam_jobs.corpus import class_names, exclude, sources, splits, unpacked
from beam_jobs.corpus.corpus_options import CorpusOptions
from beam_jobs.corpus.corpus_shards import DATASET, WriteShard
from beam_jobs.corpus.downloads import Manners
from beam_jobs.corpus.entries import Entry, pack, text, unpack
from beam_jobs.corpus.listing import ListUnit
from beam_jobs.corpus.manifest_source import Format
from beam_jobs.corpus.plan import PLAN, MakePlan, Plan
from beam_jobs.corpus.sources import Reading, Unit
from beam_jobs.corpus.table_rows import Columns, parse_columns
from beam_jobs.dataset import dataset_folder, shards, summary
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.shards import Manifest
from beam_jobs.engines import engine
from beam_jobs.images.image_check import Limits
from groundwork import storage
from groundwork.errors import JobError
from groundwork.filesystems import check_scheme

_MODULE = "beam_jobs.build_dataset"
_DECISIVE = (
    *("input", "splits", "label_from", "multi_label", "max_size", "min_size", "max_pixels"),
    *("quality", "on_duplicate_key", "shard_size", "shards"),
)
"""CorpusOptions that decide the bytes; with `class_names` and `exclude`, by their content."""
_DECISIVE_WHERE_GIVEN = ("columns", "separator", "encoding", "keep", "window")
_OF_IMAGES = (
    *("multi_label", "max_size", "min_size", "max_pixels", "quality", "on_duplicate_key"),
    "window",
)
"""Those that decide what a shard makes of its entries; the others decide the entries."""
_MANIFEST_NAME = re.compile(r"(\w+)-\d+-of-(\d+)\.json")
_SHARD_NAME = re.compile(rf"{DATASET}-\w+\.tfrecord-\d+-of-\d+")
_MAIN_REASONS = 3
"""Reasons that are named when a job fails for its rejects."""


def run(options: CorpusOptions) -> None:
    """Write the dataset folder, or what is missing of it, and print its summary.

    Raises:
        UserError: the input or the output folder is not what it should be.
        JobError: the job was started and could not finish.
    """
    started = time.monotonic()
    folder = options.output
    if options.check:
        engine.run(_Steps(options, Job(_MODULE, {}), {}, _unread_units(options)).all, options)
        return
    classes = class_names.read(options.class_names) if options.class_names else {}
    job = _job(options, classes)
    units = [unit for spec in options.input for unit in _units(spec, options)]
    with dataset_folder.locked(folder):
        update = options.update or bool(options.rewrite)
        dataset_folder.begin(folder, job, other_options=update)
        if options.retry_rejected or update:
            dataset_folder.reopen(folder)
        elif dataset_folder.is_complete(folder):
            print(f"{folder} is complete already; --update brings it up to date with its input")
            return
        print(f"build_dataset: {_inputs(options)} to {text(folder)}, {options.describe()}")
        storage.delete(storage.join(folder, PLAN))  # the input may have changed since
        kept = _shard_counts(folder) if update else {}
        _run_steps(_Steps(options, job, classes, units, kept))
        plan = _plan(options)
        manifests = _manifests(folder, plan)
        _check_rejected(manifests, options.max_rejected, folder)
        unpacked.remove(folder)
        _remove_others(folder, manifests)
        dataset_folder.complete(
            folder,
            job,
            manifests,
            class_names=plan.labels,
            multi_label=options.multi_label,
            extra_features=plan.fields,
            description=f"Images of {len(plan.labels)} classes from {_inputs(options)}.",
        )
    seconds = time.monotonic() - started
    summary.show(folder, manifests, len(plan.labels), seconds, plan.passed_over)


def _units(spec: str, options: CorpusOptions) -> list[Unit]:
    return sources.units(spec, split_folders=options.splits == splits.FOLDERS)


def _unread_units(options: CorpusOptions) -> list[Unit]:
    """The input for a check of the job, which makes no request: what is remote is not listed."""
    units = []
    for spec in options.input:
        if storage.is_remote(spec):
            check_scheme(re.sub(r"^\w+=", "", spec))  # SPLIT=PLACE
            units.append(Unit("folder", spec.encode(), spec.encode()))
        else:
            units += _units(spec, options)
    return units


def _inputs(options: CorpusOptions) -> str:
    return ", ".join(map(text, options.input))


def _columns(options: CorpusOptions) -> Columns:
    keep = tuple(name for names in options.keep for name in names.split(","))
    return parse_columns(options.columns, keep)


def _separator(options: CorpusOptions) -> str:
    return {"tab": "\t", "\\t": "\t"}.get(options.separator or "", options.separator or "")


def _plan(options: CorpusOptions) -> Plan:
    inputs = _inputs(options)
    if not storage.exists(storage.join(options.output, PLAN)):
        raise JobError(f"no images under {inputs}")
    plan = Plan.read(options.output)
    if not plan.images:
        raise JobError(
            f"no images under {inputs}; files passed over: {summary.counted(plan.passed_over)}"
        )
    return plan


def _job(options: CorpusOptions, classes: dict[str, str]) -> Job:
    decisive: dict[str, Any] = {name: getattr(options, name) for name in _DECISIVE}
    # those that are younger than datasets of this version count where they are used
    for name in _DECISIVE_WHERE_GIVEN:
        if getattr(options, name) != getattr(CorpusOptions(input=[], output=""), name):
            value = getattr(options, name)
            decisive[name] = list(value) if isinstance(value, tuple) else value  # as JSON has it
    decisive["input"] = [text(spec) for spec in options.input]
    decisive["class_names"] = classes or None
    if options.exclude is not None:
        digest = hashlib.sha256("\n".join(sorted(exclude.read(options.exclude))).encode())
        decisive["exclude"] = f"{options.exclude} (SHA-256 {digest.hexdigest()})"
    return Job(_MODULE, decisive)


@dataclass(frozen=True)
class _Steps:
    """The pipeline, in the two halves that it is made of."""

    options: CorpusOptions
    job: Job
    classes: dict[str, str]
    units: list[Unit]
    kept: dict[str, int] = field(default_factory=dict)
    """Number of shards of each split of the dataset that is updated."""

    def list(self, pipeline: beam.Pipeline) -> beam.PCollection[bytes]:
        """The images of the input, as blocks of packed entries."""
        blocks: beam.PCollection[bytes] = (
            pipeline
            | "Parts" >> beam.Create(self.units)
            | "Spread" >> beam.Reshuffle()
            | "List"
            >> beam.ParDo(
                ListUnit(
                    self.classes,
                    self.options.exclude,
                    Reading(
                        self.options.output,
                        label_from_archive=self.options.label_from == "archive",
                        split_folders=self.options.splits == splits.FOLDERS,
                        columns=_columns(self.options),
                        text=Format(self.options.encoding, _separator(self.options)),
                    ),
                    multi_label=self.options.multi_label,
                )
            )
        )
        return blocks

    def plan(self, entries: beam.PCollection[bytes]) -> beam.PCollection[Plan]:
        """The plan, which is also kept in the dataset folder; nothing where there is no image."""
        make_plan = MakePlan(
            splits.parse(self.options.splits),
            self.options.shard_size * 1_000_000,
            self.options.shards,
            tuple(self.classes.values()),
            self.kept,
            _columns(self.options).keep,
        )
        plan: beam.PCollection[Plan] = (
            entries
            | "Plan" >> beam.CombineGlobally(make_plan).without_defaults()
            | "Keep plan" >> beam.Map(_write_plan, self.options.output)
        )
        return plan

    def write(
        self, entries: beam.PCollection[bytes], plan: Plan | beam.pvalue.AsSingleton
    ) -> beam.PCollection[None]:
        """Write the shards that are missing."""
        options = self.options
        given = self.job.options
        of_images = {name: given[name] for name in _OF_IMAGES if name in given}
        write_shard = WriteShard(
            options.output,
            Job(self.job.name, of_images).fingerprint,
            Limits(
                options.max_pixels,
                options.min_size,
                options.max_size,
                options.quality,
                options.window,
            ),
            options.image_timeout,
            options.on_duplicate_key,
            multi_label=options.multi_label,
            retry_rejected=options.retry_rejected,
            rewrite=options.rewrite,
            manners=Manners(
                options.connections,
                options.host_connections,
                options.retries,
                options.download_timeout,
            ),
        )
        assigned = entries | "Assign" >> beam.FlatMap(_assign, plan, splits.parse(options.splits))
        # an update may have left a shard without images, which must be written empty
        every = (
            entries.pipeline
            | "Start" >> beam.Create([b""])
            | "Every shard" >> beam.FlatMap(_every_shard, plan)
        )
        written: beam.PCollection[None] = (
            (assigned, every)
            | "With empty ones" >> beam.Flatten()
            | "Group" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(write_shard, plan)
        )
        return written

    def all(self, pipeline: beam.Pipeline) -> None:
        """The whole pipeline."""
        entries = self.list(pipeline)
        self.write(entries, beam.pvalue.AsSingleton(self.plan(entries)))


def _every_shard(start: bytes, plan: object) -> Iterator[tuple[tuple[str, int], bytes]]:
    if not isinstance(plan, Plan):  # Beam's stand-in for the plan of no image at all
        return
    for split, count in plan.shards.items():
        yield from (((split, index), pack([])) for index in range(count))


def _run_steps(steps: _Steps) -> None:
    options = steps.options
    if options.runner != "dask":
        engine.run(steps.all, options)
        return
    # Beam's Dask runner counts entries twice where a combined value of them is a side input
    engine.run(lambda pipeline: steps.plan(steps.list(pipeline)), options)
    if storage.exists(storage.join(options.output, PLAN)):
        plan = Plan.read(options.output)
        engine.run(lambda pipeline: steps.write(steps.list(pipeline), plan), options)


def _write_plan(plan: Plan, folder: str) -> Plan:
    storage.write_text(storage.join(folder, PLAN), plan.to_json())
    return plan


def _assign(
    block: bytes, plan: Plan, shares: dict[str, float]
) -> Iterator[tuple[tuple[str, int], bytes]]:
    """Cut a block into one for each shard that it has images of."""
    by_shard: dict[tuple[str, int], list[Entry]] = {}
    for entry in unpack(block):
        split = entry.split or splits.split_of(entry.key, shares)
        shard = split, splits.shard_of(entry.key, plan.shards[split])
        by_shard.setdefault(shard, []).append(entry)
    for shard, entries in by_shard.items():
        yield shard, pack(entries)


def _shard_counts(folder: str) -> dict[str, int]:
    """Number of shards of each split, by the manifests that are there."""
    counts: dict[str, int] = {}
    for name in sorted(storage.names(storage.join(folder, shards.MANIFESTS))):
        if found := _MANIFEST_NAME.fullmatch(name):
            counts[found[1]] = int(found[2])
    return counts


def _remove_others(folder: str, manifests: list[Manifest]) -> None:
    """Delete the shards of splits, or of another number of shards, that are no more."""
    own = {m.shard.file_name for m in manifests} | {m.shard.manifest_name for m in manifests}
    for name in storage.names(storage.join(folder, shards.MANIFESTS)):
        if _MANIFEST_NAME.fullmatch(name) and f"{shards.MANIFESTS}/{name}" not in own:
            storage.delete(storage.join(folder, f"{shards.MANIFESTS}/{name}"))
    for name in storage.names(folder):
        if _SHARD_NAME.fullmatch(name) and name not in own:
            storage.delete(storage.join(folder, name))
    indexes = {m.shard.index_name for m in manifests}
    for name in storage.names(storage.join(folder, shards.INDEX)):
        if f"{shards.INDEX}/{name}" not in indexes:
            storage.delete(storage.join(folder, f"{shards.INDEX}/{name}"))


def _manifests(folder: str, plan: Plan) -> list[Manifest]:
    """The manifests of all shards."""
    manifests = []
    every = [
        s for split, count in plan.shards.items() for s in shards.shards(DATASET, split, count)
    ]
    for shard, manifest in zip(every, shards.read_manifests(folder, every), strict=True):
        if manifest is None:
            raise JobError(f"{shard.file_name} is not there: run the same command again")
        manifests.append(manifest)
    found = sum(manifest.records + len(manifest.rejected) for manifest in manifests)
    listed = sum(plan.images.values())
    if found != listed:
        raise JobError(
            f"{listed:,} images were listed and {found:,} are accounted for: the input changed "
            f"while the job ran; run the same command again"
        )
    return manifests


def _check_rejected(manifests: list[Manifest], allowed: float, folder: str) -> None:
    rejected = summary.reasons(manifests).total()
    read = rejected + sum(manifest.records for manifest in manifests)
    if rejected <= allowed * read and rejected < read:
        return
    dataset_folder.write_rejected(folder, manifests)
    why = summary.counted(dict(summary.reasons(manifests).most_common(_MAIN_REASONS)))
    archives = [r["key"] for m in manifests for r in m.rejected if "images" in r]
    if archives:
        why += f", damaged: {', '.join(archives[:_MAIN_REASONS])}"
    share = math.ceil(1000 * rejected / read) / 1000
    remedy = (
        f"mend them, or accept them with --max_rejected {share:g}" if share < 1 else "mend them"
    )
    raise JobError(
        f"{rejected:,} of {read:,} images are bad ({why}), more than --max_rejected {allowed:g}; "
        f"they are listed in {storage.join(folder, dataset_folder.REJECTED)}: {remedy}"
    )
