"""VTAB tasks as tasks of transfer evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath

from groundwork.errors import UserError
from pipeline.data.dataset.source import file_ranges, open_builder
from pipeline.data.dataset.split import Split
from pipeline.evaluation.tasks.task import Task
from pipeline.evaluation.tasks.vtab.vtab_tasks import TASKS, VtabTask

TRAIN_EXAMPLES = 800
VALIDATION_EXAMPLES = 200
SUITE = "vtab"


@dataclass(frozen=True)
class VtabSplit(Split):
    """Examples of a VTAB task: image and label are made from several TFDS features."""

    task: VtabTask
    features: tfds.features.FeaturesDict
    """Those that the task reads."""

    def parse(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parse one serialized tf.Example into (encoded image, string []; label, int64 [])."""
        skip = {"image": tfds.decode.SkipDecoding()}
        parsed = self.features.deserialize_example(serialized, decoders=skip)
        return self.task.image(parsed), self.task.label(parsed)


def find_tasks(names: Sequence[str]) -> list[VtabTask]:
    """Tasks by name: vtab, vtab/GROUP or vtab/TASK; each once, in the order of the table.

    Raises:
        UserError: there is no such task or group.
    """
    wanted = set()
    for name in names:
        matching = {task.name for task in TASKS if name in _names(task)}
        if not matching:
            known = sorted({known for task in TASKS for known in _names(task)})
            raise UserError(f"tasks: there is no {name}; there are {', '.join(known)}")
        wanted |= matching
    return [task for task in TASKS if task.name in wanted]


def open_vtab_task(task: VtabTask, data_dir: str | None = None) -> Task:
    """Open one task. Nothing is downloaded.

    Raises:
        UserError: TFDS has not prepared the dataset in `data_dir`.
    """
    builder = open_builder(task.tfds_name, data_dir, download=False)
    carving = task.carving
    train = _split(task, builder, "train")
    share = train.num_examples * carving.train_percent // 100
    if carving.validation:
        validation = _split(task, builder, carving.validation).slice(0, VALIDATION_EXAMPLES)
    else:
        validation = train.slice(share, share + VALIDATION_EXAMPLES)
    test = _split(task, builder, carving.test)
    total = test.num_examples
    return Task(
        name=f"{SUITE}/{task.name}",
        identity={"source": task.tfds_name, "version": builder.info.full_name},
        class_names=tuple(str(number) for number in range(task.num_classes)),
        train=train.slice(0, min(TRAIN_EXAMPLES, share)),
        validation=validation,
        test=test.slice(total * carving.test_from_percent // 100, total),
    )


def _names(task: VtabTask) -> tuple[str, str, str]:
    return SUITE, f"{SUITE}/{task.group}", f"{SUITE}/{task.name}"


def _split(task: VtabTask, builder: Any, name: str) -> VtabSplit:
    description = (epath.Path(builder.data_dir) / "dataset_info.json").read_bytes()
    features = builder.info.features
    return VtabSplit(
        name=name,
        files=file_ranges(builder, task.tfds_name, name),
        fingerprint=hashlib.sha256(description + f"{task.name} {name}".encode()).hexdigest(),
        image_key="image",
        label_key=task.name,
        key_feature=None,
        task=task,
        features=tfds.features.FeaturesDict({key: features[key] for key in task.reads}),
    )
