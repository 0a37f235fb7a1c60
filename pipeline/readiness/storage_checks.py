"""Whether this host can read the dataset and write the workdir."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from groundwork import storage
from groundwork.errors import UserError, one_line
from pipeline.data.dataset.shard_counts import HEAD, file_sizes
from pipeline.data.dataset.split import Split
from pipeline.process.check import Check, gigabytes


def check_split(split: Split) -> Check:
    """Read and decode the first image of a split, and look for all of its files.

    Every worker does this on its own machine: a path that one can read may be missing on another.
    """
    paths = sorted({file.path for file in split.files})
    missing = _missing(paths)
    if missing:
        return Check(
            "dataset",
            "error",
            f"{split.name}: {len(missing)} of {len(paths)} files cannot be seen from this host, "
            f"such as {missing[0]}",
            "mount or copy the dataset folder under the same path on every host",
        )
    try:
        serialized = _first_record(paths[0])
        encoded, _ = split.parse(serialized)
        shape = tf.io.decode_image(encoded, channels=3, expand_animations=False).shape
    except (StopIteration, tf.errors.OpError) as error:
        empty = isinstance(error, StopIteration)
        reason = "it has no records" if empty else one_line(error)
        return Check(
            "dataset",
            "error",
            f"{split.name}: the first image of {paths[0]} cannot be read: {reason}",
            "python -m beam_jobs.verify_dataset tells which files are damaged",
        )
    return Check(
        "dataset",
        "ok",
        f"{split.name}: {split.num_examples} images in {len(paths)} files, the first of "
        f"{shape[1]}×{shape[0]} pixels",
    )


def _missing(paths: Sequence[str]) -> list[str]:
    """Those that do not exist; a folder is listed once, for a bucket answers slowly."""
    folders = {path.rpartition("/")[0] for path in paths}
    found = {f"{folder}/{name}" for folder in folders for name in file_sizes(folder)}
    return [path for path in paths if path not in found]


def _first_record(path: str) -> tf.Tensor:
    """The first serialized example of a shard; raises StopIteration where it has none."""
    if not storage.is_remote(path):
        return next(iter(tf.data.TFRecordDataset(path).take(1)))
    # TensorFlow may not read that URL, and the shard is not to be copied for one image
    with storage.open_binary(path, block_bytes=1 << 20) as file:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            raise StopIteration
        return tf.constant(file.read(HEAD.unpack(head)[0]))


def check_workdir(path: str, checkpoint_bytes: int, kept: int) -> Check:
    """Hold the free space of the workdir against the checkpoints it will hold.

    Args:
        path: of the workdir, which may not exist yet.
        checkpoint_bytes: size of one.
        kept: how many lie there at once, at most.
    """
    need = checkpoint_bytes * kept
    needed = f"{kept} checkpoints of {gigabytes(checkpoint_bytes)} need {gigabytes(need)}"
    if storage.is_remote(path):
        return Check("workdir", "not checked", f"{path}: free space of a bucket; {needed}")
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Check("workdir", "error", f"{folder} cannot be written to", "choose another workdir")
    free = shutil.disk_usage(folder).free
    if free < checkpoint_bytes:
        return Check(
            "workdir",
            "error",
            f"{path}: {gigabytes(free)} free, one checkpoint needs {gigabytes(checkpoint_bytes)}",
            "free space, or choose another workdir",
        )
    if free < need:
        return Check(
            "workdir",
            "warning",
            f"{path}: {gigabytes(free)} free; {needed}",
            "free space, or lower checkpoint.keep",
        )
    return Check("workdir", "ok", f"{path}: {gigabytes(free)} free; {needed}")


def missing_dataset(error: UserError, prepare: str | None) -> Check:
    """What to say of a dataset that cannot be opened."""
    if prepare:
        return Check("dataset", "not checked", f"not there yet; the run makes it: {prepare}")
    return Check("dataset", "error", str(error))
