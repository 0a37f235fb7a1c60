"""Features of a split, computed once and kept by the fingerprints of extractor and data."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from groundwork.progress import Progress
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.split import Split
from pipeline.evaluation.features.extractors import Extractor
from pipeline.evaluation.features.feature_set import FeatureSet
from pipeline.evaluation.tasks.task import check_labels

FORMAT = "2"
"""Changes when the meaning of a stored file does."""


def cached_features(
    extractor: Extractor, split: Split, cache: Path, *, batch_size: int, label: str
) -> FeatureSet:
    """Features of every example of `split`, in its order.

    They go to disk batch by batch and are mapped from there, so that memory does not grow with the
    split.

    Args:
        extractor: what makes them.
        split: labeled images.
        cache: folder that keeps features.
        batch_size: images per call of `extractor`.
        label: shown before the progress.

    Raises:
        UserError: the split has no labels.
    """
    folder = cache / cache_key(extractor, split)
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".unfinished-", dir=cache, ignore_cleanup_errors=True
        ) as name:
            _compute(extractor, split, Path(name), batch_size, label)
            Path(name).rename(folder)
    features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    return FeatureSet(features, labels)


def cache_key(extractor: Extractor, split: Split) -> str:
    """Name of the folder that keeps these features."""
    parts = (FORMAT, extractor.fingerprint, split.fingerprint, split.image_key, split.label_key)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _compute(extractor: Extractor, split: Split, folder: Path, batch_size: int, label: str) -> None:
    total = split.num_examples
    batch_size = min(batch_size, total)
    features = labels = None
    done = 0
    progress = Progress(label, total)
    for image_bytes, batch_labels, mask in eval_batches(split, lambda image: image, batch_size):
        size = int(np.sum(mask))
        batch = extractor(image_bytes[:size])
        known = batch_labels.numpy()[:size]
        check_labels(split, known)
        if features is None or labels is None:
            labels = np.empty((total, *known.shape[1:]), known.dtype)
            features = np.lib.format.open_memmap(
                folder / "features.npy", "w+", np.float32, (total, batch.shape[1])
            )
            _reserve(folder / "features.npy")
        features[done : done + size] = batch
        labels[done : done + size] = known
        done += size
        progress.update(done)
    progress.close()
    if done != total or features is None or labels is None:
        raise RuntimeError(f"{split.name}: {done} of {total} examples were read")
    features.flush()
    np.save(folder / "labels.npy", labels)


def _reserve(path: Path) -> None:
    """Have the space of a mapped file set aside: a disk that is full would be a SIGBUS later.

    Raises:
        OSError: there is no space.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
