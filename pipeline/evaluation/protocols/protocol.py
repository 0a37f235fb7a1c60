"""What a protocol on frozen features is, and how its classifiers are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.features.feature_set import TaskFeatures
from pipeline.evaluation.protocols.scores import Hits, Score, accuracy, count_hits, score

Floats = NDArray[np.floating]
Labels = NDArray[Any]
"""int; or, where an image has any number of labels, bool."""
Classifier = Callable[[Floats], Labels]
"""Features `[examples, width]` to classes, int `[examples]`; where an image has any number of
labels to scores, `[examples, classes]`."""


@dataclass(frozen=True)
class Outcome:
    """Scores of one protocol by setting, such as the number of shots."""

    scores: dict[str, Score]
    predictions: Labels
    """What its classifiers gave for the test examples, `[seeds, …]`, of the last setting."""
    labels: Labels
    """Of the test examples, int64 `[examples]`; or bool `[examples, classes]`."""
    probabilities: Floats | None = None
    """Of each class, `[examples, classes]`, by the last setting's first seed; None: the protocol
    gives none."""
    also: Mapping[str, dict[str, Score]] = field(default_factory=dict)
    """Scores of variants that readers know by name."""
    notes: tuple[str, ...] = ()
    """What to know when reading the scores."""


class FrozenProtocol(Protocol):
    """Options of a protocol that learns from frozen features, with what it does.

    A new one is a dataclass with these members in a file of this folder, and a row in
    `ProtocolTable`.
    """

    HEADING: ClassVar[str]
    """Of its table in the report."""
    SETTING: ClassVar[str]
    """What its settings count, such as images per class; empty: it has one setting."""
    MULTI_LABEL: ClassVar[bool]
    """Whether it knows images with any number of labels."""

    def check(self) -> None:
        """Raise a UserError where the options cannot be."""

    def evaluate(self, task: TaskFeatures) -> Outcome:
        """Learn from the features of a task, and measure on its test sets."""


def judge(
    task: TaskFeatures, classifiers: Iterable[Classifier], chosen: Mapping[str, float] | None = None
) -> tuple[Score, Labels]:
    """Score of the classifiers, one per seed, and their predictions, int `[seeds, examples]`."""
    predicted: list[Labels] = []
    hits: dict[str, list[Hits]] = {name: [] for name in task.extra_tests}
    for classify in classifiers:
        predicted.append(classify(task.test.features))
        for name, test in task.extra_tests.items():
            hits[name].append(count_hits(classify(test.features), test.labels))
    accuracies = [accuracy(one, task.test.labels) for one in predicted]
    return score(accuracies, chosen or {}, hits), np.stack(predicted)
