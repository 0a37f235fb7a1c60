"""What the model card needs to know of a run and its configuration does not say."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from pipeline.data.dataset.source import Source
from pipeline.data.dataset.split import Split
from pipeline.devices.accelerators import Accelerators
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.compute_meter import training_flops
from pipeline.workdir.code_version import code_version


def run_record(
    config: PretrainConfig,
    source: Source,
    train_split: Split,
    eval_split: Split | None,
    model: keras.Model,
    accelerators: Accelerators,
    precision: str,
    start_step: int,
    total_steps: int,
    teacher: str | None,
) -> dict[str, Any]:
    """One start of a run as JSON values: its options, where it began, and what it ran on."""
    splits = [split for split in (train_split, eval_split) if split]
    return {
        "start_step": start_step,
        "total_steps": total_steps,
        "options": json.loads(json.dumps(asdict(config))),
        "code": code_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "devices": f"{accelerators.count} × {accelerators.name}",
        "precision": precision,
        "dataset": {
            "source": source.origin,
            "fingerprint": source.fingerprint,
            "images": {split.name: split.num_examples for split in splits},
        },
        "parameters": sum(weight.shape.num_elements() for weight in model.trainable_variables),
        "training_flops_per_image": training_flops(model, config.patch_sizes),
        "batch_size": config.batch_size,
        "teacher": teacher,
    }
