"""Options of an evaluation that is made while training."""

from dataclasses import dataclass, field
from typing import Literal

EVAL = "eval"
"""Name of the evaluation on `data.eval_split`."""


@dataclass
class EvalConfig:
    """One more evaluation while training."""

    name: str
    """Its scalars are NAME/accuracy and the like; letters, digits and hyphens."""
    kind: Literal["classification", "few_shot", "knn", "linear_probe"] = "classification"
    """What is measured: loss and accuracy of the model itself; least squares on a few images of
    each class (section 4.1 of the ViT paper, with its penalty of 1024); the vote of the nearest
    training images; or logistic regression on all of them. The last three compare features, so that
    their classes may be any."""
    source: str | None = None
    """Dataset folder or TFDS name; null: `data.source`. Of classification its classes have the
    names of the run's, as imagenet_v2/matched-frequency and imagenet2012_real have ImageNet's, an
    image may have several right answers, and the scalar is NAME/accuracy."""
    split: str | None = None
    """Split to measure on, such as train[99%:]; null: test, or validation where there is none."""
    train_split: str = "train"
    """Of the kinds that compare features, the split to learn from; all its images are read."""
    real_labels: str | None = None
    """classification: real.json of github.com/google-research/reassessed-imagenet, for a source
    that holds the validation images of ILSVRC2012 under their file names."""
    shots: list[int] = field(default_factory=lambda: [1, 5, 10, 25])
    """few_shot: images of each class; the scalars are NAME/accuracy_5shot and the like."""
    k: list[int] = field(default_factory=lambda: [20])
    """knn: neighbors that vote; the scalars are NAME/accuracy_20nn and the like."""
    every_steps: int | None = None
    """Steps between its evaluations; null: `eval_every_steps`."""

    @property
    def has_other_labels(self) -> bool:
        """Whether it measures the model's answers, but not by the labels of `data.source`."""
        other = self.source is not None or self.real_labels is not None
        return self.kind == "classification" and other

    def scalars(self, of_objective: tuple[str, ...]) -> tuple[str, ...]:
        """Names of what it may measure, without its own name; `of_objective`: by the run's."""
        if self.kind == "few_shot":
            return tuple(f"accuracy_{shots}shot" for shots in self.shots)
        if self.kind == "knn":
            return tuple(f"accuracy_{k}nn" for k in self.k)
        if self.kind == "linear_probe":
            return ("accuracy_linear_probe",)
        return ("accuracy",) if self.has_other_labels else of_objective
