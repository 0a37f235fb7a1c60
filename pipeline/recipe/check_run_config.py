"""Checks of a configuration that types cannot express, before anything is started."""

from __future__ import annotations

import importlib.util
import math
import re

from groundwork.errors import UserError
from pipeline.data.images.augment_preset import BLUR_PIXELS, USUAL_MAXIMUM
from pipeline.devices.cluster import cluster_of
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.eval_config import EVAL
from pipeline.training.objectives.objective_options import DistillationConfig
from pipeline.training.optimizers.keras_arguments import check_optimizer

TAKEN = (EVAL, "model", "speed", "train")
"""First parts of the names of other scalars and pictures."""


def check_run_config(config: PretrainConfig) -> None:
    """Raise a UserError that names the first field out of range."""
    if config.steps is None and config.epochs is None:
        raise UserError("neither steps nor epochs is given: say how long to train, as --steps 1000")
    if config.steps is not None and config.epochs is not None:
        raise UserError(
            f"steps is {config.steps} and epochs {config.epochs:g}, one of them perhaps from the "
            "recipe: add --steps null to train for the epochs, or --epochs null for the steps"
        )
    for name in (
        "steps",
        "epochs",
        "batch_size",
        "accumulate",
        "steps_per_loop",
        "stall_timeout",
        "eval_every_steps",
        "eval_batch_size",
        "patience",
        "model.lora_rank",
        "checkpoint.every_steps",
        "checkpoint.keep",
        "log.every_steps",
        "log.peak_tflops",
        "data.shuffle_window",
        "data.repeated_augmentation",
        "data.eval_resize",
        "data.service_workers",
        "optim.clip_norm",
        "optim.rsqrt_timescale",
        "optim.sam_rho",
    ):
        value = _field(config, name)
        if value is not None and value <= 0:
            raise UserError(f"{name} is {value}: it must be greater than 0")
    for name in (
        "label_smoothing",
        "ema_decay",
        "model.dropout_rate",
        "optim.momentum",
        "optim.beta1",
        "optim.beta2",
    ):
        value = _field(config, name)
        if value is not None and not 0 <= value < 1:
            raise UserError(f"{name} is {value}: it must be at least 0 and less than 1")
    for name in (
        "optim.peak_lr",
        "optim.end_lr",
        "optim.warmup_steps",
        "optim.cooldown_steps",
        "optim.head_first_steps",
        "optim.weight_decay",
        "optim.head_weight_decay",
        "data.randaugment_layers",
        "data.randaugment_magnitude",
        "data.color_jitter",
        "data.random_erasing",
        "data.mixup_alpha",
        "data.cutmix_alpha",
    ):
        value = _field(config, name)
        if value is not None and value < 0:
            raise UserError(f"{name} is {value}: it must not be negative")
    _check_optimizer(config)
    _check_evals(config)
    _check_log_and_checkpoint(config)
    if config.transfer and not config.export:
        raise UserError("transfer evaluates the export: set export=true, or transfer=null")
    _check_workers(config)
    _check_service(config)
    _check_keras_cv(config)
    _check_shares(config)
    _check_objective(config)
    _check_class_weights(config)
    _check_patch_sizes(config)
    smallest = BLUR_PIXELS if config.data.three_augment else 1
    if min(config.data.height_width) < smallest:
        raise UserError(
            f"data.image_size is {config.data.image_size}: it must be at least {smallest}"
            f"{', for 3-Augment blurs' * config.data.three_augment}"
        )


def _check_optimizer(config: PretrainConfig) -> None:
    check_optimizer(config.optim)
    if config.optim.optimizer == "schedule_free_adamw" and config.ema_decay is not None:
        raise UserError("schedule_free_adamw evaluates a mean of its own: leave ema_decay out")


def _check_workers(config: PretrainConfig) -> None:
    if config.strategy not in ("auto", "multi_worker"):
        if config.workers is not None:
            raise UserError(f"workers are for strategy multi_worker, not for {config.strategy}")
        return
    if cluster_of(config) is None and config.strategy == "multi_worker":
        raise UserError(
            "--strategy multi_worker: give --workers host:port,host:port, or TF_CONFIG, or start "
            "this with srun in a Slurm job of several tasks; on one machine use "
            "`python -m pipeline.launch_local`"
        )


def _check_service(config: PretrainConfig) -> None:
    service = config.data.service
    if service is not None and not re.fullmatch(r"grpc://[^/:]+:\d+", service):
        raise UserError(f"data.service is {service}: give grpc://host:port of the dispatcher")


def _check_keras_cv(config: PretrainConfig) -> None:
    data = config.data
    if data.randaugment_policy != "keras_cv":
        return
    if importlib.util.find_spec("keras_cv") is None:
        raise UserError(
            "data.randaugment_policy is keras_cv, which is not installed: "
            "pip install --editable '.[keras-cv]'"
        )
    if data.augmentation.randaugment_magnitude > USUAL_MAXIMUM:
        raise UserError(
            f"RandAugment's magnitude is {data.augmentation.randaugment_magnitude}, and keras-cv's "
            f"ends at {USUAL_MAXIMUM}: give --data.randaugment_magnitude {USUAL_MAXIMUM}"
        )


def _check_shares(config: PretrainConfig) -> None:
    for name in ("data.min_crop_area", "optim.layer_decay"):
        value = _field(config, name)
        if value is not None and not 0 < value <= 1:
            raise UserError(f"{name} is {value}: choose from (0, 1]")
    if config.data.random_erasing > 1:
        raise UserError(
            f"data.random_erasing is {config.data.random_erasing}: it is a probability, at most 1"
        )
    held_out = config.data.held_out
    if held_out is not None and not 0 < held_out < 1:
        raise UserError(f"data.held_out is {held_out}: choose from (0, 1)")


def _check_objective(config: PretrainConfig) -> None:
    if not config.reads_labels:
        _check_without_labels(config)
    if config.mixed_labels == "whole":
        _check_whole_labels(config)
    if config.distillation is not None:
        _check_distillation(config, config.distillation)


def _check_without_labels(config: PretrainConfig) -> None:
    objective = config.objective
    share = _field(config, f"{objective}.mask_ratio")
    assert share is not None
    if not 0 < share < 1:
        raise UserError(f"{objective}.mask_ratio is {share}: choose from (0, 1)")
    for name, is_set in {
        "label_smoothing": config.label_smoothing > 0,
        "class_weights": config.class_weights != "none",
        "loss": config.loss != "softmax",
        "data.mixup_alpha or data.cutmix_alpha": config.data.mixes_images,
        "optim.layer_decay": config.optim.layer_decay is not None,
        "init_from": config.init_from is not None,
        "model.frozen_blocks": config.model.frozen_blocks is not None,
        "model.lora_rank": config.model.lora_rank is not None,
    }.items():
        if is_set:
            raise UserError(f"objective={objective} does not go with {name}: leave it out")


def _check_class_weights(config: PretrainConfig) -> None:
    chosen = config.class_weights
    for name, weight in chosen.items() if isinstance(chosen, dict) else ():
        if not 0 <= weight < math.inf:
            raise UserError(f"class_weights: {name} has {weight:g}: it must not be negative")


def _check_distillation(config: PretrainConfig, distillation: DistillationConfig) -> None:
    if config.objective != "classify":
        raise UserError(f"objective={config.objective} does not go with distillation")
    if config.loss != "softmax":
        raise UserError(f"distillation goes with loss=softmax, not with loss={config.loss}")
    if not 0 < distillation.weight <= 1:
        raise UserError(f"distillation.weight is {distillation.weight}: choose from (0, 1]")
    if not distillation.temperature > 0:
        raise UserError(
            f"distillation.temperature is {distillation.temperature}: it must be greater than 0"
        )
    if distillation.weight == 1:
        for name, is_set in {
            "label_smoothing": config.label_smoothing > 0,
            "class_weights": config.class_weights != "none",
        }.items():
            if is_set:
                raise UserError(f"distillation.weight=1 leaves the labels out: leave {name} out")


def _check_whole_labels(config: PretrainConfig) -> None:
    if config.objective != "classify":
        raise UserError(f"objective={config.objective} does not go with mixed_labels=whole")
    if config.loss != "sigmoid":
        raise UserError(f"mixed_labels=whole goes with loss=sigmoid, not with loss={config.loss}")
    if config.class_weights != "none":
        raise UserError("mixed_labels=whole does not go with class_weights: leave it out")
    if not config.data.mixes_images:
        raise UserError("mixed_labels=whole needs data.mixup_alpha or data.cutmix_alpha")


def _check_patch_sizes(config: PretrainConfig) -> None:
    sides = config.data.height_width
    for size in config.patch_sizes or ():
        if size < 1 or any(side % size for side in sides):
            known = [n for n in range(4, min(sides) + 1) if not any(side % n for side in sides)]
            raise UserError(
                f"patch_sizes has {size}, which does not divide data.image_size "
                f"{config.data.image_size}: choose from {', '.join(map(str, known))}"
            )
    for name, is_set in {
        f"objective={config.objective}": not config.reads_labels,
        "model.remat": bool(config.model.remat),
    }.items():
        if config.patch_sizes and is_set:
            raise UserError(f"patch_sizes do not go with {name}: leave one of them out")


def _check_log_and_checkpoint(config: PretrainConfig) -> None:
    window = config.log.profile_steps
    if window and not 1 <= window[0] <= window[1]:
        raise UserError(f"log.profile_steps is {window}: give the first and the last step, from 1")
    _check_keep_best(config)
    held_out = config.data.held_out
    if held_out is not None and config.data.eval_split:
        raise UserError("data.held_out takes the place of data.eval_split: set that to null")
    if config.patience and not (config.checkpoint.keep_best and config.eval_every_steps):
        raise UserError("patience needs eval_every_steps, and checkpoint.keep_best eval/accuracy")
    if config.optim.head_first_steps and config.optim.optimizer == "schedule_free_adamw":
        raise UserError("optim.head_first_steps has no place in schedule_free_adamw: leave it out")
    if config.model.lora_rank is not None and config.model.frozen_blocks is not None:
        raise UserError("model.lora_rank trains no block: leave model.frozen_blocks out")


def _check_evals(config: PretrainConfig) -> None:
    names = [options.name for options in config.evals]
    for options in config.evals:
        name = options.name
        if options.has_other_labels and config.objective != "classify":
            raise UserError(
                f"evals {name}: objective {config.objective} has no single answer to compare with "
                "other labels: leave source and real_labels out, or choose few_shot, knn or "
                "linear_probe"
            )
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name in TAKEN or names.count(name) > 1:
            raise UserError(
                f"evals: {name!r} cannot be the name of one of them: choose another of letters, "
                f"digits and hyphens, once each, but not {', '.join(TAKEN)}"
            )
        for field, values in (
            ("shots", options.shots),
            ("k", options.k),
            ("every_steps", [1 if options.every_steps is None else options.every_steps]),
        ):
            if not values or min(values) < 1 or len(set(values)) < len(values):
                raise UserError(
                    f"evals {name}: {field} is {getattr(options, field)}: it must be "
                    "greater than 0, each number once"
                )


def _check_keep_best(config: PretrainConfig) -> None:
    chosen = config.checkpoint.keep_best
    if chosen is None:
        return
    own = _own_scalars(config)
    scalars = {options.name: options.scalars(own) for options in config.evals}
    if config.data.eval_split or config.data.held_out is not None:
        scalars = {EVAL: own} | scalars
    known = [f"{name}/{scalar}" for name, names in scalars.items() for scalar in names]
    if not known:
        raise UserError("checkpoint.keep_best needs an evaluation: give data.eval_split or evals")
    if chosen not in known:
        raise UserError(
            f"checkpoint.keep_best is {chosen}, which an evaluation of this run has not: keep_best="
            f"{' or '.join(known)}"
        )


def _own_scalars(config: PretrainConfig) -> tuple[str, ...]:
    """What an evaluation by the run's objective measures."""
    if config.objective == "multi_label":
        return ("mean_average_precision", "f1", "loss")
    if config.objective == "masked_patches" and config.masked_patches.target != "pixels":
        return ("accuracy", "loss")
    return ("accuracy", "accuracy_top5", "loss") if config.reads_labels else ("loss",)


def _field(config: PretrainConfig, name: str) -> float | int | None:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value  # type: ignore[return-value]
