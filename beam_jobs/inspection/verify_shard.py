"""Check one shard of a dataset folder."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_jobs.corpus import splits
from beam_jobs.dataset import shards
from beam_jobs.dataset.dataset_reader import Dataset
from beam_jobs.dataset.example import deserialize
from beam_jobs.dataset.shards import Manifest, Shard
from beam_jobs.dataset.tfrecord import FRAME_BYTES, CorruptRecordError
from beam_jobs.engines import progress
from beam_jobs.images.image_check import Limits, Rejected
from beam_jobs.images.image_process import ImageProcess
from groundwork import storage

KEYS = "keys"
"""Tagged output: (hash of key, (the record, as a Fault without one, and its key))."""


class Fault(NamedTuple):
    """What is wrong, and where."""

    shard: Shard
    text: str


class VerifyShard(beam.DoFn):
    """Gives the faults of a shard, and its keys.

    Args:
        dataset: what the metadata says.
        image_timeout: seconds that decoding one image may take.
    """

    def __init__(self, dataset: Dataset, image_timeout: float) -> None:
        self._dataset = dataset
        self._image_timeout = image_timeout

    def setup(self) -> None:
        """Prepare the process that decodes."""
        # what build_dataset let in by its own limits is no fault
        self._images = ImageProcess(Limits(max_pixels=1 << 62), self._image_timeout)

    def teardown(self) -> None:
        """End the process that decodes."""
        self._images.close()

    def process(self, element: Shard) -> Iterator[Fault | TaggedOutput[str, Any]]:
        """Check one shard."""
        for found in self._faults(element):
            yield Fault(element, found) if isinstance(found, str) else found

    def _faults(self, shard: Shard) -> Iterator[str | TaggedOutput[str, Any]]:
        name = shard.file_name
        records = 0
        offsets = array("q", [0])
        try:
            for record in shards.read(self._dataset.folder, shard):
                yield from self._check(record, shard, f"{name} record {records}")
                records += 1
                offsets.append(offsets[-1] + len(record) + FRAME_BYTES)
                progress.add(done=1)
        except (CorruptRecordError, OSError) as error:
            yield f"{name}: {error}"
            return
        expected = self._dataset.lengths[shard.split][shard.index]
        if records != expected:
            yield f"{name}: {records} records, {expected} in dataset_info.json"
        manifest = self._manifest(shard)
        if manifest is not None and manifest.sha256 != self._file_digest(name):
            yield f"{name}: SHA-256 differs from {shard.manifest_name}"
            return  # so does what its index should say
        index = shards.read_index(self._dataset.folder, shard)
        if index is not None and index != shards.index_bytes(offsets):
            yield f"{name}: {shard.index_name} does not say where its records begin"

    def _check(
        self, record: bytes, shard: Shard, where: str
    ) -> Iterator[str | TaggedOutput[str, Any]]:
        try:
            example = deserialize(record, "" if self._dataset.has_keys else where)
        except ValueError as error:
            yield f"{where}: {error}"
            return
        key = splits.key_hash(example.key), (Fault(shard, where), example.key)
        yield TaggedOutput(KEYS, key)
        if not example.labels and not self._dataset.multi_label:
            yield f"{where}: no label"
        for label in example.labels:
            if not 0 <= label < len(self._dataset.class_names):
                yield f"{where}: label {label} of {len(self._dataset.class_names)} classes"
        try:
            checked = self._images.check(example.image)
        except Rejected as error:
            yield f"{where}: image {error.reason.value} {error.detail}".rstrip()
        else:
            if checked.encoded is not None and self._dataset.has_keys:
                yield f"{where}: readers differ on this image (format, alpha, CMYK or orientation)"

    def _manifest(self, shard: Shard) -> Manifest | None:
        return shards.read_manifest(self._dataset.folder, shard)

    def _file_digest(self, name: str) -> str:
        with storage.open_binary(storage.join(self._dataset.folder, name)) as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()


def find_faults(
    pipeline: beam.Pipeline, dataset: Dataset, image_timeout: float
) -> beam.PCollection[Fault]:
    """Add the steps that give all faults of a dataset, keys that occur twice among them."""
    verify = beam.ParDo(VerifyShard(dataset, image_timeout))
    results = (
        pipeline
        | "Shards" >> beam.Create(dataset.shards)
        | "Spread" >> beam.Reshuffle()
        | "Verify" >> verify.with_outputs(KEYS, main="faults")
    )
    duplicates = (
        results[KEYS] | "Group" >> beam.GroupByKey() | "Duplicates" >> beam.FlatMap(_duplicates)
    )
    return (results["faults"], duplicates) | "All faults" >> beam.Flatten()


def _duplicates(group: tuple[int, Iterable[tuple[Fault, str]]]) -> Iterator[Fault]:
    """Faults among the records whose keys have the same hash."""
    first: dict[str, Fault] = {}
    for record, key in sorted(group[1]):
        if key in first:
            text = f"{record.text}: key {key!r} is also that of {first[key].text}"
            yield record._replace(text=text)
        else:
            first[key] = record
