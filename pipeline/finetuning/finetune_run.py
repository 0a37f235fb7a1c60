"""A fine-tuning from its options: plan, runs, export, report."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, fields

from groundwork import command_line, storage
from groundwork.errors import UserError
from pipeline.data.dataset.source import Source, open_source
from pipeline.devices.device_options import DeviceOptions
from pipeline.devices.strategy import make_strategy
from pipeline.finetuning.finetune_config import FinetuneConfig
from pipeline.finetuning.finetune_plan import Plan, make_plan
from pipeline.finetuning.finetune_report import write_finetune_report
from pipeline.named_models.evaluated_model import EvaluatedModel, open_evaluated_model
from pipeline.process.check import table
from pipeline.process.disk_full import explain_full_disk
from pipeline.readiness.preflight_config import PreflightConfig
from pipeline.readiness.run_checks import preflight
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.export_stage import export_run
from pipeline.run.run_stages import TRANSFER_SECONDS, train_each
from pipeline.serving.export_config import ExportConfig
from pipeline.training.state.best_checkpoint import stored_score
from pipeline.workdir.workdir import Workdir

OPTIONS = "finetune.yaml"
"""In the output: what it was begun with."""
FREE = {"output", "learning_rates", "attention_images", "preflight"} | {
    field.name for field in fields(DeviceOptions)
}
"""Options that a later start may give otherwise."""


def finetune(config: FinetuneConfig, dataset: str) -> int:
    """Fine-tune, export and report; returns the exit status, as `pipeline.pretrain`'s.

    Args:
        config: the options.
        dataset: the dataset folder, or TFDS name, of `config.data.source`.

    Raises:
        UserError: bad input; as its subclasses, what ended a run.
    """
    storage.make_local_folder(config.output, "--output")
    _check_same_options(config)
    strategy = None if config.preflight else make_strategy(config)  # before any tensor is made
    evaluated = open_evaluated_model(config.model)
    data = config.data
    source = open_source(dataset, data.data_dir, image_key=data.image_key, label_key=data.label_key)
    plan = make_plan(config, dataset, source, evaluated)
    _print_plan(plan)
    if strategy is None:
        return _preflight(plan.runs[0])
    return train_each(
        strategy, plan.runs, lambda: _finish(config, plan, source, evaluated), TRANSFER_SECONDS
    )


def _check_same_options(config: FinetuneConfig) -> None:
    """Refuse another fine-tuning in the folder of one; the first start writes down what it is."""
    path = storage.join(config.output, OPTIONS)
    if not storage.exists(path):
        if not config.preflight:
            storage.write_text(path, command_line.to_yaml(config))
        return
    before = command_line.parse(
        FinetuneConfig, ["--config", path], prog="python -m pipeline.finetune"
    )
    changed = [
        f"{name} was {json.dumps(old)}"
        for name, old in asdict(before).items()
        if name not in FREE and old != asdict(config)[name]
    ]
    if changed:
        raise UserError(
            f"{config.output} was begun with other options ({'; '.join(changed)}): give those, or "
            "another --output"
        )


def _print_plan(plan: Plan) -> None:
    for note in plan.notes:
        print(f"warning   {note}")
    run = plan.runs[0]
    height, width = run.data.height_width
    optim, epoch = run.optim, plan.train.num_examples / run.batch_size
    rates = ", ".join(f"{each.optim.peak_lr:.3g}" for each in plan.runs)
    split = "" if run.accumulate == 1 else f" (in {run.accumulate} parts, for the memory)"
    assert run.steps is not None
    print(
        f"plan      {height}×{width} pixels, {run.batch_size} images a step{split}, at most "
        f"{run.steps} steps ({run.steps / epoch:.3g} epochs), {optim.optimizer} at {rates}"
        + (f", layer-wise decay {optim.layer_decay:g}" if optim.layer_decay else "")
        + f", augmentation {run.data.augment_preset}; evaluated every {run.eval_every_steps} steps "
        f"on {plan.eval.num_examples} images of {plan.eval.name}",
        flush=True,
    )


def _preflight(run: PretrainConfig) -> int:
    values = {field.name: getattr(run, field.name) for field in fields(PretrainConfig)}
    checks = preflight(PreflightConfig(**values))
    print(table(checks))
    return UserError.exit_status if any(check.status == "error" for check in checks) else 0


def _finish(config: FinetuneConfig, plan: Plan, source: Source, evaluated: EvaluatedModel) -> None:
    scores = {run.workdir: _score(run) for run in plan.runs}
    metric = str(plan.runs[0].checkpoint.keep_best).removeprefix("eval/")
    choose = min if metric == "loss" else max
    best = choose(plan.runs, key=lambda run: scores[run.workdir])
    if len(plan.runs) > 1:
        listed = ", ".join(
            f"{run.optim.peak_lr:.3g}: {scores[run.workdir]:.4g}" for run in plan.runs
        )
        print(f"rates     held-out {metric} at {listed}; taken: {best.optim.peak_lr:.3g}")
    folder = storage.join(config.output, "export")
    export_run(ExportConfig(best.workdir, folder, "best"))
    print(f"export    {folder}", flush=True)
    with explain_full_disk("the report", config.output):
        write_finetune_report(config, best, plan, source, evaluated, folder, scores)
    print(f"classify  python -m pipeline.classify --model {shlex.quote(folder)} NEW_IMAGES/")


def _score(run: PretrainConfig) -> float:
    score = stored_score(Workdir(run.workdir).best_checkpoint)
    assert score is not None  # the run has ended, so it was evaluated
    return score[1]
