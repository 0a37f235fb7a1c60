"""Some examples of a dataset in a fixed order: their records, and how to parse them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class FileRange(NamedTuple):
    """Examples `skip` to `skip + take` of one TFRecord file."""

    path: str
    skip: int
    take: int


@dataclass(frozen=True)
class Split:
    """Some examples of a dataset, in a fixed order, and how to parse them."""

    name: str
    """As asked for, in TFDS slicing notation, such as train[:99%]."""
    files: tuple[FileRange, ...]
    """What to read, in order."""
    fingerprint: str
    """SHA-256 of the dataset's description and of the file ranges."""
    image_key: str
    label_key: str
    key_feature: str | None
    """Text feature that identifies an example; None: the dataset has none."""
    labels_below: int | None = field(default=None, kw_only=True)
    """What the labels that `parse` gives have to be below; None: `check_label` lets all pass."""
    multi_label_classes: int | None = field(default=None, kw_only=True)
    """Classes where an image has any number of labels; None: it has one."""

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return sum(file.take for file in self.files)

    def slice(self, start: int, stop: int) -> Split:
        """Examples `start` to `stop`, counted over the whole split, in order; may be none."""
        ranges = []
        first = 0  # index of the first example of the file
        for path, skip, take in self.files:
            begin, end = max(start, first), min(stop, first + take)
            if begin < end:
                ranges.append(FileRange(path, skip + begin - first, end - begin))
            first += take
        return self._part(tuple(ranges), f"[{start}:{stop}]")

    def joined(self, other: Split) -> Split:
        """These examples, then those of `other`, a split of the same dataset."""
        part = self._part((*self.files, *other.files), f"+{other.fingerprint}")
        return replace(part, name=f"{self.name}+{other.name}")

    def select(self, indices: Sequence[int]) -> Split:
        """The examples at `indices`, counted over the whole split, in that order."""
        starts = np.cumsum([0, *(file.take for file in self.files)])
        numbers = np.searchsorted(starts, indices, side="right") - 1
        chosen = zip(numbers.tolist(), np.subtract(indices, starts[numbers]).tolist(), strict=True)
        files: list[FileRange] = []
        for number, offset in chosen:
            path, skip, _ = self.files[number]
            last = files[-1] if files else None
            if last and (last.path, last.skip + last.take) == (path, skip + offset):
                files[-1] = last._replace(take=last.take + 1)
            else:
                files.append(FileRange(path, skip + offset, 1))
        return self._part(tuple(files), f"[{','.join(map(str, indices))}]")

    def _part(self, files: tuple[FileRange, ...], what: str) -> Split:
        digest = hashlib.sha256((self.fingerprint + what).encode())
        return replace(self, files=files, fingerprint=digest.hexdigest())

    def parse(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parse one serialized tf.Example into (encoded image, string []; label).

        The label is an int64 scalar; of a dataset with several labels to an image bool `[classes]`,
        true for each class that the image is of.
        """
        features = {
            self.image_key: tf.io.FixedLenFeature([], tf.string),
            self.label_key: self._label_feature,
        }
        parsed = tf.io.parse_single_example(serialized, features)
        label = parsed[self.label_key]
        if self.multi_label_classes is not None:
            label = multi_hot(label, self.multi_label_classes)
        return parsed[self.image_key], label

    def parse_labels(self, serialized: tf.Tensor) -> tf.Tensor:
        """Parse all labels, int64 `[labels]`, of serialized tf.Examples, string `[batch]`."""
        found = tf.io.parse_example(serialized, {self.label_key: self._label_feature})
        labels = found[self.label_key]
        return labels if self.multi_label_classes is None else labels.flat_values

    @property
    def _label_feature(self) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
        if self.multi_label_classes is None:
            return tf.io.FixedLenFeature([], tf.int64)
        return tf.io.RaggedFeature(tf.int64)

    def parse_key(self, serialized: tf.Tensor) -> tf.Tensor:
        """Parse the key (string []) of one serialized tf.Example; empty where there is none."""
        if self.key_feature is None:
            return tf.constant("")
        feature = {self.key_feature: tf.io.FixedLenFeature([], tf.string)}
        return tf.io.parse_single_example(serialized, feature)[self.key_feature]

    def check_label(self, label: tf.Tensor, serialized: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """`label` itself; an InvalidArgumentError that names key and shard where it is no class.

        On the host, where the input is made: what XLA compiles would take any label.

        Args:
            label: of `parse`.
            serialized: the example, string scalar.
            index: its place in this split, int64 scalar.
        """
        if self.labels_below is None:
            return label
        classes = self.labels_below
        several = self.multi_label_classes is not None
        # What is no class is not in the bools any more.
        labels = self.parse_labels(serialized[None]) if several else label[None]
        wrong = labels[(labels < 0) | (labels >= classes)]
        ends = tf.cumsum(tf.constant([file.take for file in self.files], tf.int64))
        names = tf.constant([file.path for file in self.files])

        def refused() -> tf.Tensor:
            shard = tf.searchsorted(ends, [index], side="right")[0]
            told = tf.strings.join(
                [
                    "label ",
                    tf.strings.as_string(wrong[0]),
                    f" is none of the {classes} classes, from 0 on: example ",
                    self.parse_key(serialized),
                    " of ",
                    names[shard],
                ]
            )
            with tf.control_dependencies([tf.debugging.Assert(False, [told])]):
                return tf.identity(label)

        return tf.cond(tf.size(wrong) == 0, lambda: label, refused)


def multi_hot(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Labels, int64 `[labels]`, as bool `[num_classes]`; what is no class is left out."""
    hot = tf.one_hot(labels, num_classes, on_value=True, off_value=False)
    return tf.reduce_any(hot, axis=0)


def read_records(files: tuple[FileRange, ...]) -> tf.data.Dataset:
    """The serialized tf.Examples of `files`, in order: a dataset of string []."""
    paths, skips, takes = (list(column) for column in zip(*files, strict=True))
    ranges = tf.data.Dataset.from_tensor_slices(
        (tf.constant(paths), tf.constant(skips, tf.int64), tf.constant(takes, tf.int64))
    )
    return ranges.flat_map(
        lambda path, skip, take: whole_range(tf.data.TFRecordDataset(path).skip(skip), path, take)
    )


def whole_range(records: tf.data.Dataset, path: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
    """The first `count` of `records`, string []; an InvalidArgumentError where there are fewer.

    Args:
        records: of the file `path`, string scalar.
        path: for the message.
        count: int64 scalar.
    """

    def too_short(index: tf.Tensor) -> tf.Tensor:
        told = tf.strings.join([path, " ends before its last records: copy that file again"])
        with tf.control_dependencies([tf.debugging.Assert(False, [told])]):
            return tf.constant("")

    # The second is asked for its next only while the first has one, so never for more than `count`.
    endless = records.concatenate(tf.data.Dataset.range(1).map(too_short))
    numbered = tf.data.Dataset.zip((tf.data.Dataset.range(count), endless))
    return numbered.map(lambda index, record: record)
