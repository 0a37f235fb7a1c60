"""The dataset folder as a whole: begun, locked, completed.

`job.json` is written first and `COMPLETED` last, so that a reader can tell a folder that is whole
from one that a job has not finished.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_jobs.dataset.extra_features import tfds_feature
from beam_jobs.dataset.shards import INDEX, MANIFESTS, Manifest
from groundwork import locks, storage
from groundwork.errors import UserError

JOB = "job.json"
COMPLETED = "COMPLETED"
REJECTED = "rejected.jsonl"
_NOTES = {JOB, REJECTED, MANIFESTS, "plan.json"}
"""What a job writes before its first result."""
VERSION = 1
"""Of the folder's layout, and of the bytes that the same options give."""


@dataclass(frozen=True)
class Job:
    """What makes a dataset folder what it is."""

    name: str
    """Module of the job, such as beam_jobs.build_dataset."""
    options: dict[str, Any]
    """Those that decide the bytes: not the number of workers."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of name, options and layout version."""
        return hashlib.sha256(json.dumps(self._values(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """As it lies in the folder."""
        values = self._values() | {"fingerprint": self.fingerprint}
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    def _values(self) -> dict[str, Any]:
        return {"job": self.name, "options": self.options, "version": VERSION}


def locked(folder: str) -> AbstractContextManager[None]:
    """Keep other jobs out of a folder; made where it does not exist.

    Raises:
        UserError: another job has the folder, or it cannot be made.
    """
    return locks.hold(
        folder,
        f"another job is writing {folder}: wait for it, or stop it, or choose another --output",
    )


def is_complete(folder: str) -> bool:
    """Whether the dataset in `folder` is whole."""
    return storage.exists(storage.join(folder, COMPLETED))


def reopen(folder: str) -> None:
    """Take the completion marker away: a job is about to change shards."""
    storage.delete(storage.join(folder, COMPLETED))


def begin(folder: str, job: Job, *, other_options: bool = False) -> None:
    """Claim `folder` for `job`, or go on with what the same job has left there.

    Args:
        folder: the dataset folder.
        job: who claims it.
        other_options: it may have been written with others; those of `job` take their place.

    Raises:
        UserError: the folder holds something else.
    """
    path = storage.join(folder, JOB)
    if storage.exists(path):
        found = json.loads(storage.read_text(path))
        # where nothing is written yet, nothing is lost by other options
        may_change = other_options or not _holds_results(folder)
        if may_change and found.get("job") == job.name:
            storage.write_text(path, job.to_json())
        else:
            _check_same(folder, job, found)
    elif strange := sorted(storage.names(folder) - {locks.LOCK})[:3]:
        raise UserError(
            f"{folder} holds {', '.join(strange)} and was not written by {job.name}: choose an "
            "--output that does not exist yet"
        )
    else:
        storage.write_text(path, job.to_json())
    _remove_temporaries(folder)


def _holds_results(folder: str) -> bool:
    """Whether a job has left more there than its own notes."""
    visible = {name for name in storage.names(folder) if not name.startswith(".")}
    return bool(visible - _NOTES or storage.names(storage.join(folder, MANIFESTS)))


def _remove_temporaries(folder: str) -> None:
    """Delete what a killed job was writing: shards, their indexes and manifests."""
    if storage.is_remote(folder):  # an object appears whole or not at all
        return
    for place in (folder, storage.join(folder, MANIFESTS), storage.join(folder, INDEX)):
        for name in storage.names(place):
            if name.startswith(storage.TEMPORARY_PREFIX):
                storage.delete(storage.join(place, name))


def _check_same(folder: str, job: Job, found: dict[str, Any]) -> None:
    if found.get("fingerprint") == job.fingerprint:
        return
    remedy = f"give the same options, choose another --output, or delete {folder}"
    if found.get("job") != job.name:
        raise UserError(f"{folder} was written by {found.get('job')}, not {job.name}: {remedy}")
    before = found.get("options", {})
    changed = [
        f"--{name} was {before.get(name)!r} and is {value!r}"
        for name, value in (dict.fromkeys(before) | job.options).items()
        if before.get(name) != value
    ]
    what = "; ".join(changed) or "another version of this project wrote it"
    raise UserError(f"{folder} was begun with other options ({what}): {remedy}")


def complete(
    folder: str,
    job: Job,
    manifests: Sequence[Manifest],
    *,
    class_names: Sequence[str],
    description: str,
    multi_label: bool = False,
    extra_features: Mapping[str, str] | None = None,
) -> None:
    """Write the TFDS metadata of finished shards and then the completion marker.

    Args:
        folder: the dataset folder.
        job: the job that wrote it.
        manifests: one per shard, in any order.
        class_names: in the order of the labels.
        description: for people, kept by TFDS.
        multi_label: `label` is a sequence of class numbers, not one.
        extra_features: kind by name, see `extra_features`.
    """
    import tensorflow_datasets as tfds

    manifests = sorted(manifests, key=lambda manifest: manifest.shard)
    by_split: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        by_split.setdefault(manifest.shard.split, []).append(manifest)
    write_rejected(folder, manifests)
    label = tfds.features.ClassLabel(names=list(class_names))
    # written here and sent: TFDS knows fewer kinds of storage than we do
    with tempfile.TemporaryDirectory() as temporary:
        metadata = Path(temporary) / folder.rstrip("/").rpartition("/")[2]  # may name the version
        metadata.mkdir()
        # TFDS looks for the names of the dataset and its splits
        placeholders = [metadata / of_split[0].shard.file_name for of_split in by_split.values()]
        for placeholder in placeholders:
            placeholder.touch()
        template = tfds.core.ShardedFileTemplate(
            dataset_name=manifests[0].shard.dataset, data_dir=metadata, filetype_suffix="tfrecord"
        )
        tfds.folder_dataset.write_metadata(
            data_dir=metadata,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.Sequence(label) if multi_label else label,
                    "key": tfds.features.Text(),
                    **{n: tfds_feature(kind) for n, kind in sorted((extra_features or {}).items())},
                }
            ),
            split_infos=[
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[manifest.records for manifest in of_split],
                    num_bytes=sum(manifest.example_bytes for manifest in of_split),
                    filename_template=template.replace(split=split),
                )
                for split, of_split in sorted(by_split.items())
            ],
            description=description,
            check_data=False,  # it would import TensorFlow; verify_dataset checks all records
        )
        for placeholder in placeholders:
            placeholder.unlink()
        for path in sorted(metadata.iterdir()):
            with storage.create(storage.join(folder, path.name)) as file:
                file.write(path.read_bytes())
    digest = hashlib.sha256(
        "".join(f"{m.shard.file_name} {m.sha256}\n" for m in manifests).encode()
    )
    marker = {
        "fingerprint": job.fingerprint,
        "records": {split: sum(m.records for m in ms) for split, ms in sorted(by_split.items())},
        "sha256": digest.hexdigest(),
    }
    storage.write_text(storage.join(folder, COMPLETED), json.dumps(marker, indent=1) + "\n")


def write_rejected(folder: str, manifests: Sequence[Manifest]) -> None:
    """Gather the shards' rejects in one file; none where there are none."""
    path = storage.join(folder, REJECTED)
    rejected = [
        reject
        for manifest in sorted(manifests, key=lambda manifest: manifest.shard)
        for reject in manifest.rejected
    ]
    if rejected:
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in rejected]
        storage.write_text(path, "".join(lines))
    else:
        storage.delete(path)
