"""What a fine-tuning is where its options do not say: chosen for model, images and machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar

import keras

from groundwork import storage
from groundwork.errors import UserError
from pipeline.data.data_config import DataConfig
from pipeline.data.dataset.class_counts import count_classes
from pipeline.data.dataset.held_out import train_and_eval
from pipeline.data.dataset.source import Source
from pipeline.data.dataset.split import Split
from pipeline.devices.device_options import DeviceOptions
from pipeline.devices.machine import Machine, look_at_machine
from pipeline.devices.strategy import policy_on
from pipeline.finetuning.finetune_config import FinetuneConfig
from pipeline.named_models.evaluated_model import EvaluatedModel
from pipeline.readiness.memory import USABLE, compute_bytes, estimate, slot_bytes
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.loop_options import LogConfig
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.model.partial_training import train_partially
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.state.checkpoint_config import CheckpointConfig
from pipeline.workdir.workdir import Workdir
from vit_keras import VisionTransformer

Preset = Literal["none", "light1", "medium1"]
HELD_OUT = 0.1
EVERY_STEPS = 10
"""The fewest steps between two evaluations, or rows of the log."""
FEW = 1_000
"""Below so many held-out images the loss chooses the checkpoint: their accuracy has too few values,
and ties between a model that has learned and one that has not."""
OF_CPU = 0.25
"""Share of a CPU's memory to fill: the input, TensorFlow and other programs are there too."""
SIZES = (1_000, 10_000, 100_000)
"""Training images at which what depends on them changes."""
EPOCHS = (40, 20, 10, 5)
PRESETS: tuple[Preset, ...] = ("none", "light1", "light1", "medium1")
"""Of augmentation. MixUp and strong RandAugment are for runs long enough to gain by them."""
CROPS = (0.35, 0.2, 0.1, 0.05)
"""Smallest area of a training crop."""
NAMED = 5
"""Classes that a note lists."""
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The runs of a fine-tuning, and what to report on."""

    runs: list[PretrainConfig]
    """One for each rate."""
    train: Split
    eval: Split
    notes: list[str]
    """What the user should know of the images."""


def make_plan(
    config: FinetuneConfig, dataset: str, source: Source, evaluated: EvaluatedModel
) -> Plan:
    """Fill in what is not given. A run that has begun keeps its own plan, whatever the machine.

    Args:
        config: the options.
        dataset: what to name as the runs' source.
        source: the same, opened.
        evaluated: the model to start from.

    Raises:
        UserError: options, images or a model that do not go together.
    """
    eval_split, held_out = config.data.eval_split, None
    if eval_split is None and "validation" in source.split_names:
        eval_split = "validation"
    if eval_split is None:
        held_out = HELD_OUT
    train, evaluation = train_and_eval(source, config.data.train_split, eval_split, held_out)
    assert evaluation is not None
    size = None if config.image_size is None else (config.image_size, config.image_size)
    model = evaluated.load(size, source.num_classes, "float32")
    data = DataConfig(
        source=dataset,
        data_dir=config.data.data_dir,
        train_split=config.data.train_split,
        eval_split=eval_split,
        held_out=held_out,
        image_key=config.data.image_key,
        label_key=config.data.label_key,
        image_size=model.image_size,
        eval_resize=_eval_resize(evaluated, model),
        min_crop_area=_by_size(train.num_examples, CROPS),
        flip=config.data.flip,
        augment_preset=_by_size(train.num_examples, PRESETS),
    )
    machine = look_at_machine(config)
    planned = _plan_run(config, data, model, (train.num_examples, evaluation.num_examples), machine)
    rates = config.learning_rates or [planned.optim.peak_lr]
    runs = [_begun(_at_rate(planned, config.output, rate)) for rate in rates]
    for run in runs:
        check_run_config(run)
    return Plan(runs, train, evaluation, _notes(source, train, evaluation))


def _plan_run(
    config: FinetuneConfig,
    data: DataConfig,
    model: keras.Model,
    counts: tuple[int, int],
    machine: Machine,
) -> PretrainConfig:
    images, held_out = counts
    replicas = machine.replicas or 8  # of a TPU that is not started yet
    parts = replicas * (2 if data.mixes_images else 1)
    batch = config.batch_size or (32 if images < 5 * SIZES[0] else 128)
    batch = min(batch, images) // parts * parts
    if not batch:
        raise UserError(
            f"{images} images to train on are too few for {replicas} devices: give more images, or "
            "--strategy default"
        )
    epoch = images // batch
    steps = math.ceil((config.epochs or _by_size(images, EPOCHS)) * epoch)
    probe = round(config.probe_epochs * epoch)
    is_vit = isinstance(model, VisionTransformer)
    every = max(epoch, EVERY_STEPS)
    best = "eval/loss" if held_out < FEW else "eval/accuracy"
    run = PretrainConfig(
        data=data,
        workdir=config.output,
        model=ModelConfig(
            variant=config.model,
            frozen_blocks=_frozen_blocks(config, model),
            lora_rank=config.lora_rank if config.train == "lora" else None,
        ),
        optim=_optim(config, is_vit, batch, steps, probe),
        init_from=config.model,
        steps=steps + probe,
        batch_size=batch,
        eval_batch_size=max(batch, replicas),
        seed=config.seed,
        eval_every_steps=every,
        patience=config.patience + math.ceil(probe / every),
        checkpoint=CheckpointConfig(every_steps=every, keep=1, keep_best=best),
        log=LogConfig(every_steps=min(50, max(EVERY_STEPS, epoch // 2)), pictures=False),
        export=False,
        **{field.name: getattr(config, field.name) for field in fields(DeviceOptions)},
    )
    train_partially(model, run.model)
    return _fitted(run, model, machine, replicas)


def _optim(config: FinetuneConfig, is_vit: bool, batch: int, steps: int, probe: int) -> OptimConfig:
    """AdamW with layer-wise decay for a ViT; SGD for a ResNet, as BiT-HyperRule."""
    common = OptimConfig(warmup_steps=steps // 10, head_first_steps=probe, clip_norm=1.0)
    if not is_vit:
        return replace(common, optimizer="sgd", peak_lr=0.003 * batch / 512)
    if config.train == "all":
        rate, layer_decay = 2e-4, 0.75
    else:  # what is new, or next to nothing, learns faster than what is trained already
        rate, layer_decay = 2e-3, None
    return replace(
        common,
        peak_lr=rate * math.sqrt(batch / 32),
        weight_decay=0.05,
        layer_decay=layer_decay,
    )


def _frozen_blocks(config: FinetuneConfig, model: keras.Model) -> int | None:
    if config.train != "head":
        return config.frozen_blocks
    if not isinstance(model, VisionTransformer):
        raise UserError(
            "train head: this model is no ViT; evaluate its features with python -m "
            "pipeline.transfer, or leave --train out"
        )
    return int(model.num_layers)


def _fitted(
    run: PretrainConfig, model: keras.Model, machine: Machine, replicas: int
) -> PretrainConfig:
    """In as few microbatches as the memory allows; the weights are the same in any number."""
    if machine.device_bytes is None:
        return run
    usable = machine.device_bytes * (OF_CPU if machine.device == "CPU" else USABLE)
    slots = slot_bytes(model, run.optim)
    numbers = compute_bytes(policy_on(machine.device, run.precision))
    share, least = run.batch_size // replicas, 2 if run.data.mixes_images else 1
    fitting = run
    for count in range(1, share // least + 1):
        if share % count or share // count % least:
            continue
        fitting = replace(run, accumulate=count)
        memory = estimate(
            model,
            fitting,
            slots=slots,
            replicas=replicas,
            compute_bytes=numbers,
            device=machine.device,
        )
        if memory.total <= usable:
            break
    return fitting


def _at_rate(run: PretrainConfig, output: str, rate: float) -> PretrainConfig:
    workdir = storage.join(output, f"runs/rate_{rate:.3g}")
    return replace(run, workdir=workdir, optim=replace(run.optim, peak_lr=rate))


def _begun(run: PretrainConfig) -> PretrainConfig:
    """The run as it was begun, on the devices of now; `run` itself where it has not."""
    workdir = Workdir(run.workdir)
    if not workdir.has_class_names():
        return run
    devices = {field.name: getattr(run, field.name) for field in fields(DeviceOptions)}
    return replace(workdir.load_config(), workdir=run.workdir, **devices)


def _eval_resize(evaluated: EvaluatedModel, model: keras.Model) -> int | None:
    resize = evaluated.export.preprocess.eval_resize if evaluated.export else evaluated.eval_resize
    if resize is not None:
        scaled: int = round(resize * min(model.image_size) / min(evaluated.identity["image_size"]))
        return scaled
    crop: float | None = model.preprocessing.crop
    return None if crop is None else int(min(model.image_size) / crop)


def _notes(source: Source, train: Split, evaluation: Split) -> list[str]:
    notes = []
    for split, what in ((train, "to train on"), (evaluation, "to evaluate on")):
        counts = count_classes(split, source.num_classes)
        missing = [name for name, n in zip(source.class_names, counts, strict=True) if not n]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            notes.append(
                f"{len(missing)} of {len(counts)} classes have no image {what}: "
                f"{', '.join(missing[:NAMED])}{more}"
            )
    return notes


def _by_size(images: int, values: Sequence[T]) -> T:
    return values[sum(images >= size for size in SIZES)]
