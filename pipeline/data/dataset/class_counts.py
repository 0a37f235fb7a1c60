"""How often each class occurs in a split."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from groundwork import storage
from groundwork.errors import UserError
from pipeline.data.dataset.split import Split, read_records
from pipeline.process.disk_full import explain_full_disk

LABELS_AT_ONCE = 4096


def count_classes(split: Split, num_classes: int) -> list[int]:
    """Read every label of `split`, without decoding an image.

    Returns:
        Examples of each class, in the order of the labels; one with several labels is of each.

    Raises:
        UserError: an example without a label of the `num_classes`.
    """
    labels = read_records(split.files).batch(LABELS_AT_ONCE).map(split.parse_labels)
    counts = np.zeros(num_classes, np.int64)
    for batch in labels.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        if ((batch < 0) | (batch >= num_classes)).any():
            raise UserError(
                f"split {split.name} has examples without a label below {num_classes}: "
                "choose a labeled split, or class_weights=none"
            )
        counts += np.bincount(batch, minlength=num_classes)
    return [int(count) for count in counts]


def read_labels(split: Split, num_classes: int) -> np.ndarray:
    """The label of each example of `split`, int64 `[examples]`, without decoding an image.

    Raises:
        UserError: examples have any number of labels, or one none of the `num_classes`.
    """
    if split.multi_label_classes is not None:
        raise UserError(f"split {split.name}: its images have any number of labels, not one each")
    batches = read_records(split.files).batch(LABELS_AT_ONCE).map(split.parse_labels)
    labels = np.concatenate(list(batches.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()))
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(f"split {split.name} has examples without a label below {num_classes}")
    return labels


def cached_class_counts(split: Split, num_classes: int, path: str, write: bool) -> list[int]:
    """`count_classes`, kept in the JSON file `path` for the next start of the run.

    Args:
        split: whose examples are counted.
        num_classes: classes of the dataset.
        path: local or remote; counts of another split that lie there are replaced.
        write: whether to keep them; only the chief does.
    """
    if storage.exists(path):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged: counted again
            kept = json.loads(storage.read_text(path))
            if kept["split"] == split.fingerprint and len(kept["counts"]) == num_classes:
                return [int(count) for count in kept["counts"]]
    counts = count_classes(split, num_classes)
    if write:
        kept = {"split": split.fingerprint, "counts": counts}
        with explain_full_disk("the class counts", path):
            storage.write_text(path, json.dumps(kept))
    return counts


def named_weights(weights: Mapping[str, float], class_names: Sequence[str]) -> list[float]:
    """Weight of each class, of those by name; 1 for the others.

    Raises:
        UserError: a name that no class has.
    """
    for name in weights:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, n=1)
            raise UserError(
                f"class_weights: no class of the dataset is called {name}"
                + (f"; the nearest is {close[0]}" if close else "")
            )
    return [float(weights.get(name, 1.0)) for name in class_names]


def balancing_weights(counts: list[int]) -> list[float]:
    """Weight of each class, inverse to its count; 1 on average over the examples.

    A class without examples gets 0: it has nothing to weigh.
    """
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]
