"""One shard of a dataset folder: its name, its file, and the manifest that says it is done."""

from __future__ import annotations

import hashlib
import json
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from beam_jobs.dataset import tfrecord
from beam_jobs.dataset.example import Example, deserialize, serialize
from groundwork import storage
from groundwork.errors import JobError, StorageFault

MANIFESTS = "manifests"
INDEX = "index"
"""Folder of the files that say where each record of a shard begins."""


@dataclass(frozen=True, order=True)
class Shard:
    """The `index`-th of the `count` shards of a split."""

    dataset: str
    split: str
    index: int
    count: int

    @property
    def file_name(self) -> str:
        """Named by the TFDS template."""
        return f"{self.dataset}-{self.split}.tfrecord-{self.index:05d}-of-{self.count:05d}"

    @property
    def name(self) -> str:
        """For people: split, index and count."""
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}"

    @property
    def manifest_name(self) -> str:
        """Path of its manifest in the dataset folder."""
        return f"{MANIFESTS}/{self.name}.json"

    @property
    def index_name(self) -> str:
        """Path of its index in the dataset folder."""
        return f"{INDEX}/{self.file_name}.index"


def shards(dataset: str, split: str, count: int) -> list[Shard]:
    """All shards of a split."""
    return [Shard(dataset, split, index, count) for index in range(count)]


@dataclass
class Manifest:
    """What a finished shard holds. Written after the shard, so that it proves the shard whole."""

    shard: Shard
    fingerprint: str
    """SHA-256 of what the shard was made from; another one: the shard is out of date."""
    records: int
    example_bytes: int
    """Sum of the lengths of the serialized examples."""
    file_bytes: int
    sha256: str
    """Of the file."""
    counters: dict[str, int] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> str:
        """As it lies on the disk."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of `to_json`; raises ValueError, KeyError or TypeError on anything else."""
        values = json.loads(text)
        return cls(**(values | {"shard": Shard(**values["shard"])}))


def read_manifest(folder: str, shard: Shard) -> Manifest | None:
    """The manifest of a shard; None where there is none, or the shard's file is not there."""
    try:
        text = storage.read_text(storage.join(folder, shard.manifest_name))
    except StorageFault:  # which says nothing of the shard
        raise
    except OSError:
        return None
    return Manifest.from_json(text) if storage.exists(_path(folder, shard)) else None


def read_manifests(folder: str, wanted: Sequence[Shard]) -> list[Manifest | None]:
    """As `read_manifest`, for many shards: two listings, and many requests at once."""
    files = storage.names(folder)
    noted = storage.names(storage.join(folder, MANIFESTS))

    def read_one(shard: Shard) -> Manifest | None:
        if shard.file_name not in files or f"{shard.name}.json" not in noted:
            return None
        return Manifest.from_json(storage.read_text(storage.join(folder, shard.manifest_name)))

    return storage.in_parallel(read_one, wanted)


def write(folder: str, shard: Shard, fingerprint: str, examples: Iterable[Example]) -> Manifest:
    """Stream `examples` to the shard's file, and write its index after it.

    Memory is bounded by one example. Each file appears whole or not at all. The caller completes
    and publishes the manifest, which vouches for both.
    """
    # a manifest left by an earlier content must not vouch for the new file
    storage.delete(storage.join(folder, shard.manifest_name))
    records = example_bytes = file_bytes = 0
    digest = hashlib.sha256()
    offsets = array("q", [0])
    try:
        with storage.create(_path(folder, shard)) as file:
            for example in examples:
                record = serialize(example)
                framed = tfrecord.frame(record)
                digest.update(framed)
                file.write(framed)
                records += 1
                example_bytes += len(record)
                file_bytes += len(framed)
                offsets.append(file_bytes)
        with storage.create(storage.join(folder, shard.index_name)) as file:
            file.write(index_bytes(offsets))
    except StorageFault:  # it says all that there is to say
        raise
    except OSError as error:  # of this file: who gives the examples deals with its own
        raise JobError(
            f"cannot write {_path(folder, shard)}: {error.strerror or error}; once that is mended, "
            "the same command goes on"
        ) from error
    return Manifest(shard, fingerprint, records, example_bytes, file_bytes, digest.hexdigest())


def index_bytes(offsets: Sequence[int]) -> bytes:
    """An index as it lies on the disk: little-endian int64, one for each of `offsets`.

    Args:
        offsets: where each record begins, and the size of the file.
    """
    return struct.pack(f"<{len(offsets)}q", *offsets)


def read_index(folder: str, shard: Shard) -> bytes | None:
    """The index of a shard; None where there is none, as in datasets of others."""
    try:
        return storage.read(storage.join(folder, shard.index_name))
    except StorageFault:  # which says nothing of the shard
        raise
    except FileNotFoundError:
        return None


def publish(folder: str, manifest: Manifest) -> None:
    """Write the manifest: from now on the shard is done."""
    storage.write_text(storage.join(folder, manifest.shard.manifest_name), manifest.to_json())


def read(folder: str, shard: Shard) -> Iterator[bytes]:
    """Yield the serialized examples of a shard; raises OSError or `CorruptRecordError`."""
    with storage.open_binary(_path(folder, shard)) as file:
        yield from tfrecord.read(file)


def read_examples(folder: str, shard: Shard) -> Iterator[Example]:
    """The examples of a shard; one without a key gets its place for one, as in train-00000:17.

    Raises:
        JobError: the shard is damaged.
    """
    number = 0
    try:
        for record in read(folder, shard):
            yield deserialize(record, f"{shard.split}-{shard.index:05d}:{number}")
            number += 1
    except (OSError, ValueError, tfrecord.CorruptRecordError) as error:
        raise JobError(
            f"{_path(folder, shard)}, after {number} images: {error}; python -m "
            "beam_jobs.verify_dataset names all faults"
        ) from error


def _path(folder: str, shard: Shard) -> str:
    return storage.join(folder, shard.file_name)
