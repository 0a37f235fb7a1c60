"""Features of a task by the model and by its baselines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.evaluation.features.extractors import (
    Extractor,
    RawPixels,
    SavedModelFeatures,
    UntrainedFeatures,
)
from pipeline.evaluation.features.feature_cache import cached_features
from pipeline.evaluation.features.feature_set import TaskFeatures
from pipeline.evaluation.reports.transfer_result import MODEL
from pipeline.evaluation.tasks.extra_tests import check_answers
from pipeline.evaluation.tasks.task import Task
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.named_models.evaluated_model import EvaluatedModel
from pipeline.serving.loading import Export


def frozen_features(
    config: TransferConfig, evaluated: EvaluatedModel, task: Task, output: Path
) -> dict[str, TaskFeatures]:
    """Features of every split by learner: the model, then the baselines.

    Raises:
        UserError: a split has no labels.
    """
    assert evaluated.export is not None
    cache = Path(config.cache or output / "features")
    features = {}
    for name, extractor in _extractors(config, evaluated.export).items():
        compute = partial(cached_features, extractor, cache=cache, batch_size=config.batch_size)
        sets = {
            role: compute(split, label=f"features of {split.name}, {name}")
            for role, split in task.splits().items()
        }
        extra = {
            test: compute(split, label=f"features of {test}, {name}")
            for test, split in task.extra_tests.items()
        }
        for test, found in extra.items():
            check_answers(test, found.labels)
        features[name] = TaskFeatures(
            num_classes=len(task.class_names),
            train=sets["train"],
            test=sets["test"],
            validation=sets.get("validation"),
            seed=config.seed,
            extra_tests=extra,
            class_names=task.class_names,
        )
    return features


def _extractors(config: TransferConfig, export: Export) -> dict[str, Extractor]:
    baselines: dict[str, Extractor] = {
        "untrained": UntrainedFeatures(export, config.seed),
        "raw_pixels": RawPixels(export.description.image_size),
    }
    return {MODEL: SavedModelFeatures(export)} | {
        name: baselines[name] for name in config.baselines
    }
