"""Features of the splits of one downstream dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

HELD_OUT = 5
"""One in this many training examples is held out where there is no validation split."""


@dataclass(frozen=True)
class FeatureSet:
    """Features of some examples, with their labels."""

    features: np.ndarray
    """float32 `[examples, width]`; may be mapped from a file."""
    labels: np.ndarray
    """int64 `[examples]`; of an extra test, and where an example has any number of labels, bool
    `[examples, classes]`."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> FeatureSet:
        """Those examples, in that order."""
        return FeatureSet(self.features[indices], self.labels[indices])


@dataclass(frozen=True)
class TaskFeatures:
    """Features of one task, and which part of them settings may be chosen on."""

    num_classes: int
    train: FeatureSet
    test: FeatureSet
    validation: FeatureSet | None
    seed: int
    """Of the part held out where there is no validation split."""
    extra_tests: Mapping[str, FeatureSet] = field(default_factory=dict)
    """By name."""
    class_names: tuple[str, ...] = ()
    """For messages; empty: classes are called by their numbers."""

    @property
    def multi_label(self) -> bool:
        """Whether an example has any number of labels."""
        return self.train.labels.ndim == 2

    def name_of(self, label: int) -> str:
        """What a class is called."""
        return self.class_names[label] if self.class_names else str(label)

    def selection(self) -> tuple[FeatureSet, FeatureSet]:
        """What to fit on and what to measure on while settings are chosen."""
        if self.validation is not None:
            return self.train, self.validation
        order = np.random.default_rng(self.seed).permutation(len(self.train))
        held_out = max(1, len(order) // HELD_OUT)
        return self.train.take(np.sort(order[held_out:])), self.train.take(
            np.sort(order[:held_out])
        )

    def final(self) -> FeatureSet:
        """What to fit on once settings are chosen: training and validation examples."""
        if self.validation is None:
            return self.train
        return FeatureSet(
            np.concatenate([self.train.features, self.validation.features]),
            np.concatenate([self.train.labels, self.validation.labels]),
        )
