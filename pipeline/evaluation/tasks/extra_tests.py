"""Extra test sets: other images of a task's classes, or other labels of its images.

ImageNet-v2 (arXiv 1902.10811) has new images; ReaL (arXiv 2006.07159) has new labels of the
validation images, several or none for each. Both are here datasets whose examples have any number
of labels, and whose classes have the names of the task's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from groundwork.errors import UserError, one_line
from pipeline.data.dataset.source import (
    NotPrepared,
    Source,
    check_image_feature,
    feature,
    label_feature,
    open_builder,
    test_split_name,
)
from pipeline.data.dataset.split import Split, multi_hot, read_records
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData

REAL_LABEL = "real_label"
"""Where TFDS' imagenet2012_real has its labels."""
IMAGE_NUMBER = r".*ILSVRC2012_val_(\d{8}).*"


@dataclass(frozen=True)
class AnswerSplit(Split):
    """Examples with any number of right classes each."""

    class_map: tuple[int, ...]
    """The task's class for each class of the dataset."""
    num_classes: int
    """Of the task."""
    real_labels: tuple[tuple[int, ...], ...] | None
    """Labels by the number of the image in ILSVRC2012's validation split, less one; None: those of
    the examples."""

    def parse(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parse one tf.Example into (encoded image, string []; right answers, bool [classes])."""
        features = {self.image_key: tf.io.FixedLenFeature([], tf.string)}
        if self.real_labels is None:
            features[self.label_key] = tf.io.RaggedFeature(tf.int64)
        parsed = tf.io.parse_single_example(serialized, features)
        if self.real_labels is None:
            labels = parsed[self.label_key]
        else:
            number = tf.strings.to_number(image_number(self.parse_key(serialized)), tf.int32)
            labels = tf.ragged.constant(self.real_labels, tf.int64)[number - 1]
        classes = tf.gather(tf.constant(self.class_map, tf.int64), labels[labels >= 0])
        return parsed[self.image_key], multi_hot(classes, self.num_classes)


def image_number(key: tf.Tensor) -> tf.Tensor:
    """The eight digits in a key, string [], such as n0144/ILSVRC2012_val_00000293.JPEG."""
    return tf.strings.regex_replace(key, IMAGE_NUMBER, r"\1")


def open_extra_tests(
    tests: Sequence[ExtraTest], data: TransferData, class_names: Sequence[str]
) -> tuple[dict[str, AnswerSplit], dict[str, str]]:
    """Open the extra test sets of a task.

    Args:
        tests: which.
        data: the task's dataset.
        class_names: of the task.

    Returns:
        Those that are there, by name; and of those that TFDS has not prepared, how to get them.

    Raises:
        UserError: a dataset that cannot be read, or has other classes.
    """
    opened, missing = {}, {}
    for test in tests:
        try:
            opened[test.heading] = _open(test, data, class_names)
        except NotPrepared as error:
            missing[test.heading] = str(error)
        except UserError as error:
            raise UserError(f"extra test {test.heading}: {error}") from error
    return opened, missing


def _open(test: ExtraTest, data: TransferData, class_names: Sequence[str]) -> AnswerSplit:
    builder = open_builder(test.source, data.data_dir, download=False)
    check_image_feature(builder, test.source, data.image_key)
    label_key = test.label_key or data.label_key
    if test.label_key is None and feature(builder, label_key) is None:
        label_key = REAL_LABEL
    source = Source(builder, test.source, data.image_key, label_key)
    own_names = _label_names(builder, test.source, label_key)
    strange = sorted(set(own_names) - set(class_names))
    if strange:
        raise UserError(
            f"{len(strange)} of its {len(own_names)} classes, such as {strange[0]}, are none of "
            f"the {len(class_names)} of {data.source}: name the classes of both alike"
        )
    split = source.split(test.split or test_split_name(source))
    real_labels = None
    if test.real_labels is not None:
        real_labels = _read_real_labels(test.real_labels, len(own_names))
        _check_keys(split, len(real_labels))
    class_map = tuple(class_names.index(name) for name in own_names)
    digest = hashlib.sha256(
        f"{split.fingerprint} {class_map} {len(class_names)} {real_labels}".encode()
    )
    shared = {field.name: getattr(split, field.name) for field in fields(Split)}
    return AnswerSplit(
        **(shared | {"fingerprint": digest.hexdigest(), "labels_below": None}),
        class_map=class_map,
        num_classes=len(class_names),
        real_labels=real_labels,
    )


def _label_names(builder: Any, source: str, key: str) -> list[str]:
    """Class names of a feature that is a class label or a sequence of them."""
    label = label_feature(builder, key)
    if not isinstance(label, tfds.features.ClassLabel):
        names = ", ".join(sorted(builder.info.features))
        raise UserError(
            f"{source} has no class label {key}, nor a sequence of them; its features: {names}: "
            "name one with label_key"
        )
    return list(label.names)


def _read_real_labels(path: str, num_classes: int) -> tuple[tuple[int, ...], ...]:
    try:
        lists = json.loads(Path(path).read_text(encoding="utf-8"))
        labels = tuple(tuple(int(label) for label in one) for one in lists)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"real_labels {path} cannot be read ({one_line(error)}): give real.json of "
            "github.com/google-research/reassessed-imagenet"
        ) from error
    if not labels or not all(0 <= label < num_classes for one in labels for label in one):
        raise UserError(f"real_labels {path}: labels from 0 to {num_classes - 1} are expected")
    return labels


def _check_keys(split: Split, num_labels: int) -> None:
    """Check by the first example that examples can be found in real.json."""
    key = split.parse_key(next(iter(read_records(split.files)))).numpy().decode()
    number = image_number(tf.constant(key)).numpy().decode()
    if not number.isdigit() or not 0 < int(number) <= num_labels:
        raise UserError(
            f"real_labels has {num_labels} images, and the dataset's first key is {key!r}: names "
            "such as ILSVRC2012_val_00000293.JPEG, in a text feature file_name or key, are needed"
        )


def check_answers(name: str, answers: np.ndarray) -> None:
    """Raise a UserError where no example of an extra test has a label."""
    if not answers.any():
        raise UserError(f"extra test {name}: none of its {len(answers)} images has a label")
