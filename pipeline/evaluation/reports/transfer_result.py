"""What result.json holds, as types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from groundwork import storage
from groundwork.errors import UserError, one_line
from pipeline.evaluation.protocols.scores import ExtraScore, Score

FILE_NAME = "result.json"
ACCURACY, MEAN_AVERAGE_PRECISION = "accuracy", "mean average precision"
MODEL = "model"
"""The learner that is evaluated; the others are there to compare with."""

Columns = dict[str, Score | ExtraScore]


@dataclass(frozen=True)
class ProtocolResult:
    """What one protocol has measured."""

    heading: str
    setting: str
    """What the settings count, such as images per class; empty: there is one."""
    scores: dict[str, dict[str, Score]]
    """By learner (the model, its variants, baselines), then by setting."""
    metric: str = ACCURACY
    """What the scores are: accuracy, or mean average precision."""

    @property
    def title(self) -> str:
        """Heading of a table of all settings."""
        by = f": {self.metric} by {self.setting}" if self.setting else ""
        return f"{self.heading}{by}"

    @property
    def model(self) -> dict[str, Score]:
        """Scores of the model by setting."""
        return self.scores[MODEL]

    @property
    def last_setting(self) -> str:
        """The setting that stored predictions are of."""
        return list(self.model)[-1]

    @property
    def last(self) -> Score:
        """Score of the model at the last setting."""
        return self.model[self.last_setting]

    def named_setting(self) -> str:
        """The heading with the last setting, such as "Nearest neighbors (k: 20)"."""
        suffix = f" ({self.setting}: {self.last_setting})" if self.setting else ""
        return self.heading + suffix

    def columns(self, learner: str) -> Columns:
        """Scores of one learner by heading: each setting on the test split, then each on each
        extra test."""
        by_setting = self.scores[learner]
        found: Columns = dict(by_setting)
        names = dict.fromkeys(name for score in by_setting.values() for name in score.extra_tests)
        for name in names:
            for setting, score in by_setting.items():
                found[f"{setting} on {name}"] = score.extra_tests[name]
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ProtocolResult:
        """What `dataclasses.asdict` has made of one."""
        scores = {
            learner: {setting: Score.from_json(one) for setting, one in by_setting.items()}
            for learner, by_setting in values["scores"].items()
        }
        return cls(values["heading"], values["setting"], scores, values.get("metric", ACCURACY))


@dataclass(frozen=True)
class SplitFacts:
    """A split that was learned from or measured on."""

    name: str
    num_examples: int
    fingerprint: str
    """Tells other data apart."""


@dataclass(frozen=True)
class DataFacts:
    """The downstream dataset."""

    identity: dict[str, Any]
    """Dataset and version: `source`, `version` and, of a folder, `fingerprint`."""
    class_names: list[str]
    train_images_per_class: list[int] | None
    """None: no protocol on frozen features has counted them."""
    splits: dict[str, SplitFacts]
    """By role: train, validation, test."""
    extra_tests: dict[str, SplitFacts]

    @property
    def test(self) -> SplitFacts:
        """The split that accuracies are of."""
        return self.splits["test"]

    @property
    def tested_on(self) -> str:
        """Its images in words: held-out ones are those that settings were chosen by, too."""
        validation = self.splits.get("validation")
        chosen = validation is not None and validation.fingerprint == self.test.fingerprint
        kind = "held-out" if chosen else "test"
        return f"{self.test.num_examples:,} {kind} images"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataFacts:
        """What `dataclasses.asdict` has made of one."""
        splits, extra = (
            {name: SplitFacts(**one) for name, one in values[key].items()}
            for key in ("splits", "extra_tests")
        )
        return cls(**{**values, "splits": splits, "extra_tests": extra})


@dataclass(frozen=True)
class ClassResult:
    """How one class fares. Shares are from 0 to 1."""

    name: str
    examples: int
    """Test images with this label."""
    precision: float | None
    """Share of the images taken for this class that are of it; None: no image was."""
    recall: float | None
    """Share of its images that were found, its accuracy; None: it has no image."""
    f1: float | None
    """Harmonic mean of both; None where neither image nor prediction is of it."""
    taken_for: str | None
    """The class it is most often mistaken for; None without mistakes."""
    average_precision: float | None = None
    """Where an image has any number of labels, which has no `precision`, `recall` and `taken_for`,
    and whose `f1` is the best of any threshold."""


@dataclass(frozen=True)
class Contrast:
    """The model against a baseline, by the same protocol on the same images."""

    protocol: str
    baseline: str
    difference: float
    """Accuracy of the model less that of the baseline, the mean over the seeds."""
    p_value: float
    """Of the exact test (McNemar's, with one seed) that neither is right more often."""
    is_significant: bool
    """Whether neither the choice of the images nor that of the seeds explains it, at 95 %."""


@dataclass(frozen=True)
class Analysis:
    """What the predictions of one protocol tell beyond accuracy; of its first seed."""

    protocol: str
    setting: str
    macro_precision: float | None
    """Means over the classes that have test images; a class without prediction counts as 0. None:
    an image has any number of labels."""
    macro_recall: float | None
    macro_f1: float
    expected_calibration_error: float | None
    """None: the protocol gives no probabilities."""
    classes: list[ClassResult]
    """Those of lowest recall first."""
    contrasts: list[Contrast]
    """Of every protocol at its last setting."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Analysis:
        """What `dataclasses.asdict` has made of one."""
        classes = [ClassResult(**one) for one in values["classes"]]
        contrasts = [Contrast(**one) for one in values["contrasts"]]
        return cls(**{**values, "classes": classes, "contrasts": contrasts})


@dataclass(frozen=True)
class TransferResult:
    """One transfer evaluation."""

    protocols: dict[str, ProtocolResult]
    """By name, in the order of `ProtocolTable`."""
    model: dict[str, Any]
    """What identifies the evaluated model: `folder`, `fingerprint`, `variant`, `image_size` and
    `origin`."""
    data: DataFacts
    config: dict[str, Any]
    """The resolved options."""
    versions: dict[str, str]
    notes: list[str]
    seconds: float
    verdict: str = ""
    """The result in words."""
    analysis: Analysis | None = None

    def to_json(self) -> str:
        """The text of result.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TransferResult:
        """Read the text of result.json.

        Raises:
            ValueError, KeyError, TypeError: it is none, or of another version of this project.
        """
        values = json.loads(text)
        protocols = {
            name: ProtocolResult.from_json(one) for name, one in values["protocols"].items()
        }
        typed = {"protocols": protocols, "data": DataFacts.from_json(values["data"])}
        result = cls(**{**values, **typed})
        found = values["analysis"]
        return replace(result, analysis=Analysis.from_json(found)) if found else result


def read_result(folder: str) -> TransferResult:
    """Read the result in a report folder.

    Raises:
        UserError: it holds no finished report of this version.
    """
    try:
        return TransferResult.from_json(storage.read_text(storage.join(folder, FILE_NAME)))
    except OSError as error:
        raise UserError(
            f"{folder} is not a transfer report ({one_line(error)}): write one with "
            "python -m pipeline.transfer"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder}/{FILE_NAME} is damaged, or of another version of this project "
            f"({one_line(error)}): write it again with python -m pipeline.transfer"
        ) from error
