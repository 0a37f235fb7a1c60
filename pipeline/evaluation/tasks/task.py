"""A downstream task: labeled splits to learn from, to choose settings on, and to measure on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from groundwork.errors import UserError
from pipeline.data.dataset.source import open_source, test_split_name
from pipeline.data.dataset.split import Split
from pipeline.evaluation.tasks.extra_tests import AnswerSplit, open_extra_tests
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData

DEV_SHARE = 0.1
"""Of the training split, for choosing a learning rate, where there is no validation split: as the
paper takes for Pets and Flowers (Table 4)."""


@dataclass(frozen=True)
class Task:
    """One downstream task."""

    name: str
    """Short, for titles."""
    identity: dict[str, Any]
    """For result.json: dataset and version."""
    class_names: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    extra_tests: Mapping[str, AnswerSplit] = field(default_factory=dict)
    """Other images or labels of the same classes, by name."""
    missing_tests: Mapping[str, str] = field(default_factory=dict)
    """How to get the extra tests that are not there, by name."""

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of labels."""
        return self.train.multi_label_classes is not None

    def splits(self) -> dict[str, Split]:
        """The splits by role."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: split for role, split in named.items() if split is not None}

    def tuning_splits(self) -> tuple[Split, Split]:
        """What to train on and what to measure on while settings are chosen."""
        if self.validation is not None:
            return self.train, self.validation
        total = self.train.num_examples
        kept = total - max(1, round(DEV_SHARE * total))
        return self.train.slice(0, kept), self.train.slice(kept, total)

    def final_split(self) -> Split:
        """What to train on once settings are chosen."""
        return self.train if self.validation is None else self.train.joined(self.validation)


def open_dataset_task(data: TransferData, extra_tests: Sequence[ExtraTest] = ()) -> Task:
    """The task of classifying a dataset's images.

    Raises:
        UserError: as `open_source`, `Source.split` and `open_extra_tests`.
    """
    assert data.source is not None
    source = open_source(
        data.source,
        data.data_dir,
        image_key=data.image_key,
        label_key=data.label_key,
        multi_label=None,
    )
    if source.multi_label and extra_tests:
        raise UserError(
            f"an image of {data.source} has any number of labels: extra_tests are of the most "
            "probable class alone, leave them out"
        )
    validation = data.validation_split
    opened, missing = open_extra_tests(extra_tests, data, source.class_names)
    return Task(
        name=data.source,
        identity={
            "source": data.source,
            "version": source.builder.info.full_name,
            "fingerprint": source.fingerprint,
        },
        class_names=source.class_names,
        train=source.split(data.train_split),
        validation=source.split(validation) if validation else None,
        test=source.split(data.test_split or test_split_name(source)),
        extra_tests=opened,
        missing_tests=missing,
    )


def check_labels(split: Split, labels: np.ndarray) -> None:
    """Raise a UserError where examples of `split` carry no label."""
    if labels.min() < 0:
        raise UserError(f"split {split.name} has examples without label (-1): name a labeled split")
