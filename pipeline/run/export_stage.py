"""The export stage of a run: its trained model as SavedModel and `.keras` file."""

from __future__ import annotations

import keras

import vit_keras
from groundwork.errors import UserError, one_line
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.description import Description
from pipeline.serving.export_config import ExportConfig
from pipeline.serving.export_folder import export_model
from pipeline.serving.model_card import RunFacts, model_card
from pipeline.workdir.trained_model import load_trained_model
from pipeline.workdir.workdir import Workdir
from vit_keras.weights.at_patch_size import METHOD


def export_run(config: ExportConfig) -> Description:
    """Export what a run has trained, with averaged weights where it keeps them.

    Raises:
        UserError: no such run or checkpoint, or `output` holds something else than an export.
        ParityError: what was written does not compute what the checkpoint computes.
    """
    trained = load_trained_model(config.workdir, config.checkpoint)
    if trained.best_score:
        metric, value = trained.best_score
        print(
            f"checkpoint best: of step {trained.step}, {metric} {value:.4g}; the newest is of step "
            f"{trained.newest_step}",
            flush=True,
        )
    data = trained.config.data
    workdir = Workdir(config.workdir)
    facts = RunFacts(trained.config, trained.step, workdir.load_starts(), workdir.load_metrics())
    scores = {name: facts.latest(f"eval/{name}") for name in ("accuracy", "mean_average_precision")}
    metrics = {name: value for name, value in scores.items() if value is not None}
    measured = {"metrics": metrics} if metrics else {}
    model, variant = trained.model, trained.config.model.variant
    if config.patch_size is not None:
        model = _at_patch_size(model, config.patch_size)
        variant = f"{variant.rpartition('/')[0]}/{config.patch_size}"
    return export_model(
        model,
        EvalPreprocess(data.height_width, data.eval_resize, data.interpolation),
        trained.class_names,
        config.output,
        variant=variant,
        activation=trained.config.activation,
        thresholds=trained.thresholds,
        origin={"workdir": config.workdir, "step": trained.step, "data": data.source, **measured},
        card=lambda description: model_card(facts, description),
    )


def _at_patch_size(model: keras.Model, patch_size: int) -> keras.Model:
    """A copy whose patches have another size, as a step of training with `patch_sizes` has it."""
    try:
        return vit_keras.adapt_model(model, patch_size=patch_size, method=METHOD)
    except (TypeError, ValueError) as error:
        raise UserError(f"patch_size {patch_size}: {one_line(error, None)}") from error
