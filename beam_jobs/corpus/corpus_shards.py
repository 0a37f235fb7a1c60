"""Read, check and write the images of one shard. This is where a job spends its time."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.corpus import image_reader, splits
from beam_jobs.corpus.downloads import Downloader, Downloads, Manners
from beam_jobs.corpus.entries import Entry, fingerprint, unpack
from beam_jobs.corpus.folder_source import modified
from beam_jobs.corpus.image_reader import Wanted
from beam_jobs.corpus.plan import Plan
from beam_jobs.dataset import shards
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.extra_features import Field, field
from beam_jobs.dataset.shards import Shard
from beam_jobs.engines import metrics, progress
from beam_jobs.images.image_check import Limits, Reason, Rejected
from beam_jobs.images.image_process import ImageProcess
from groundwork import storage
from groundwork.errors import JobError

_NUMBERED = re.compile(r"#[0-9]+$")
"""A key that looks as if it had been renamed: renamed itself, it cannot meet one that was."""
DATASET = "images"
"""Name of the dataset, with which the names of its files begin."""


class WriteShard(beam.DoFn):
    """Writes a shard from its entries, unless an earlier run has.

    Args:
        folder: the dataset folder.
        job_fingerprint: of the options that decide the bytes.
        limits: what images are acceptable.
        image_timeout: seconds that decoding one may take.
        on_duplicate_key: error, drop or rename.
        multi_label: an image may have several labels, or none.
        retry_rejected: write shards again that have rejected images.
        rewrite: names of shards to write again; or all.
        manners: how hosts are asked for images at URLs.
    """

    def __init__(
        self,
        folder: str,
        job_fingerprint: str,
        limits: Limits,
        image_timeout: float,
        on_duplicate_key: str,
        *,
        multi_label: bool,
        retry_rejected: bool,
        rewrite: Sequence[str],
        manners: Manners,
    ) -> None:
        self._folder = folder
        self._job_fingerprint = job_fingerprint
        self._limits = limits
        self._image_timeout = image_timeout
        self._on_duplicate_key = on_duplicate_key
        self._multi_label = multi_label
        self._retry_rejected = retry_rejected
        self._rewrite = frozenset(rewrite)
        self._manners = manners
        self._image_bytes = Metrics.distribution(metrics.NAMESPACE, metrics.IMAGE_BYTES)

    def setup(self) -> None:
        """Prepare the process that decodes; it starts with the first image."""
        self._images = ImageProcess(self._limits, self._image_timeout)
        self._downloader = Downloader(self._manners)

    def teardown(self) -> None:
        """End the process that decodes."""
        self._images.close()

    def process(self, element: tuple[tuple[str, int], Iterable[bytes]], plan: Plan) -> None:
        """Write one shard: its images in the order of their keys' hashes."""
        (split, index), blocks = element
        unsorted = itertools.chain.from_iterable(map(unpack, blocks))
        shard = Shard(DATASET, split, index, plan.shards[split])
        numbers = {label: number for number, label in enumerate(plan.labels)}
        entries = sorted(unsorted, key=lambda entry: (splits.key_hash(entry.key), entry))
        made_from = fingerprint(self._job_fingerprint, numbers, entries)
        done = shards.read_manifest(self._folder, shard)
        again = self._retry_rejected and done is not None and bool(done.rejected)
        again |= not self._rewrite.isdisjoint((shard.name, "all"))
        again |= self._has_newer(shard, entries)
        if done is not None and done.fingerprint == made_from and not again:
            progress.add(done=len(entries))
            self._count(metrics.SKIPPED, len(entries))
            return
        counters: Counter[str] = Counter()
        rejected: list[dict[str, Any]] = []
        examples = self._examples(entries, numbers, plan.fields, counters, rejected)
        manifest = shards.write(self._folder, shard, made_from, examples)
        manifest.counters = dict(sorted(counters.items()))
        manifest.rejected = rejected
        counters.update(metrics.rejected(reject["reason"]) for reject in rejected)
        for name, count in counters.items():
            self._count(name, count)
        shards.publish(self._folder, manifest)

    def _has_newer(self, shard: Shard, entries: list[Entry]) -> bool:
        """Whether a local file was changed after a local shard was written, if only inside."""
        written = modified(storage.join(self._folder, shard.manifest_name))
        return written > 0 and any(entry.modified > written for entry in entries)

    @staticmethod
    def _count(name: str, count: int) -> None:
        Metrics.counter(metrics.NAMESPACE, name).inc(count)

    def _examples(
        self,
        entries: list[Entry],
        numbers: dict[str, int],
        fields: dict[str, str],
        counters: Counter[str],
        rejected: list[dict[str, Any]],
    ) -> Iterator[Example]:
        downloads = Downloads(self._downloader, entries)
        found = image_reader.read(self._unique(entries), self._folder, downloads)
        for wanted, data in found:
            entry = wanted.entry
            try:
                if isinstance(data, Rejected):
                    raise data
                counters[metrics.READ] += 1
                counters[metrics.BYTES_IN] += len(data)
                if not entry.labels and not self._multi_label:
                    raise Rejected(Reason.NO_LABEL)
                labels = tuple(sorted({numbers[label] for label in entry.labels}))
                checked = self._images.check(data)
            except Rejected as error:
                rejected.append(_reject(entry, error))
            else:
                image = data if checked.encoded is None else checked.encoded
                counters[metrics.WRITTEN] += 1
                counters[metrics.BYTES_OUT] += len(image)
                counters[metrics.REENCODED] += checked.encoded is not None
                counters[metrics.shorter_side(min(checked.width, checked.height))] += 1
                self._image_bytes.update(len(image))
                yield Example(image, labels, wanted.key, _extra(entry, fields))
            progress.add(done=1)

    def _unique(self, entries: list[Entry]) -> Iterator[Wanted]:
        """Give each entry a key of its own; entries with equal keys stand side by side."""
        for key, same in itertools.groupby(entries, key=lambda entry: entry.key):
            for number, entry in enumerate(same):
                if number == 0:
                    first = entry
                    rename = self._on_duplicate_key == "rename" and _NUMBERED.search(key)
                    yield Wanted(f"{key}#0" if rename else key, entry)
                elif self._on_duplicate_key == "rename":
                    yield Wanted(f"{key}#{number}", entry)
                elif self._on_duplicate_key == "drop":
                    yield Wanted(key, entry, Rejected(Reason.DUPLICATE_KEY, first.locator))
                else:
                    raise JobError(
                        f"two images have the key {key!r}: {first.locator} and {entry.locator}; "
                        "give --on_duplicate_key drop or rename"
                    )


def _extra(entry: Entry, fields: dict[str, str]) -> tuple[Field, ...]:
    values = json.loads(entry.extra or "{}")
    try:
        return tuple(field(name, kind, values.get(name)) for name, kind in fields.items())
    except ValueError as error:
        raise JobError(f"{entry.key}: {error}") from error


def _reject(entry: Entry, error: Rejected) -> dict[str, Any]:
    reject: dict[str, Any] = {
        "key": entry.key,
        "locator": entry.locator,
        "reason": error.reason.value,
        "detail": error.detail,
    }
    return reject | ({"images": entry.missing} if entry.missing else {})
