"""Nearest neighbors: the majority vote of the nearest training images by cosine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from pipeline.evaluation.features.feature_set import TaskFeatures
from pipeline.evaluation.protocols.checks import check_positive
from pipeline.evaluation.protocols.protocol import Outcome, judge
from pipeline.evaluation.protocols.scores import Score


@dataclass
class NearestNeighbors:
    """Nearest neighbors of frozen features, by cosine."""

    HEADING: ClassVar[str] = "Nearest neighbors"
    SETTING: ClassVar[str] = "k"
    MULTI_LABEL: ClassVar[bool] = False

    k: list[int] = field(default_factory=lambda: [1, 5, 20])
    """Numbers of neighbors that vote; each is reported, none is chosen."""

    def check(self) -> None:
        """Raise a UserError where the options cannot be."""
        check_positive("knn.k", self.k)

    def evaluate(self, task: TaskFeatures) -> Outcome:
        """Scores by k; the probabilities are the shares of the votes."""
        from sklearn.neighbors import KNeighborsClassifier

        train = task.final()
        scores: dict[str, Score] = {}
        for k in self.k:
            voters = min(k, len(train))
            classifier = KNeighborsClassifier(voters, metric="cosine", algorithm="brute")
            classifier.fit(train.features, train.labels)
            scores[str(k)], predictions = judge(task, [classifier.predict])
        probabilities = np.zeros((len(task.test), task.num_classes))
        probabilities[:, classifier.classes_] = classifier.predict_proba(task.test.features)
        return Outcome(scores, predictions, task.test.labels, probabilities)
