"""The model of a run, as its checkpoint left it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import keras

from groundwork.errors import UserError
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.model.partial_training import merged
from pipeline.training.objectives.masked_patches import as_classifier
from pipeline.training.objectives.objective import build_objective_model
from pipeline.training.state.best_checkpoint import stored_score
from pipeline.training.state.checkpoint import Checkpointer
from pipeline.training.state.checkpoint_files import checkpoints_in, step_of
from pipeline.training.state.train_state import TrainState
from pipeline.workdir.workdir import Workdir


@dataclass
class TrainedModel:
    """What a run has trained.

    Attributes:
        model: in float32, with averaged weights where the run keeps them. After pre-training
            without labels: the encoder under a head of zeros.
        class_names: in the order of the logits.
        config: of the run.
        step: of the checkpoint.
        newest_step: of the run's newest checkpoint.
        best_score: metric and value that made it the best; None: it was not asked for as such.
        thresholds: where an image has any number of labels, see `Workdir.load_thresholds`.
    """

    model: keras.Model
    class_names: list[str]
    config: PretrainConfig
    step: int
    newest_step: int
    best_score: tuple[str, float] | None = None
    thresholds: tuple[float, ...] = ()


def load_trained_model(path: str, step: int | Literal["best"] | None = None) -> TrainedModel:
    """Restore the model of the run in workdir `path`: newest checkpoint, that of `step`, or best.

    Raises:
        UserError: `path` is not a workdir, or holds no such checkpoint.
    """
    workdir = Workdir(path)
    config = workdir.load_config()
    class_names = workdir.load_class_names()
    model = build_objective_model(
        config,
        config.model,
        config.data.height_width,
        len(class_names),
        seed=config.seed,
        architecture=workdir.load_architecture(),
    )
    state = TrainState(model, config.optim, seed=config.seed, ema_decay=config.ema_decay)
    folder = workdir.best_checkpoint if step == "best" else workdir.checkpoints
    checkpointer = Checkpointer(state, folder, config.checkpoint.keep, write=False)
    found = checkpointer.restore(None if step == "best" else step)
    if found is None:
        remedy = "train with --checkpoint.keep_best eval/accuracy" if step == "best" else "train"
        raise UserError(f"no checkpoint in {folder} yet: {remedy} first")
    state.take_averages()
    if not config.reads_labels:
        model = as_classifier(model, len(class_names))
    model = merged(model)
    newest = max(map(step_of, checkpoints_in(workdir.checkpoints)), default=found)
    score = stored_score(folder) if step == "best" else None
    thresholds = workdir.load_thresholds(found, len(class_names)) if config.multi_label else ()
    return TrainedModel(model, class_names, config, found, newest, score, thresholds)
