"""The teacher of a distillation, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from groundwork.errors import UserError
from pipeline.named_models.evaluated_model import open_evaluated_model
from pipeline.workdir.same_dataset import differing_classes


@dataclass(frozen=True)
class Teacher:
    """A model that answers for another to learn from.

    Attributes:
        model: takes pixels in [-1, 1], at the size that it was trained for.
        fingerprint: changes with its weights.
    """

    model: keras.Model
    fingerprint: str


def open_teacher(name: str, class_names: Sequence[str], policy: str) -> Teacher:
    """Open a teacher; under the strategy's scope.

    Args:
        name: an export, a workdir, a file of weights or a name, see `open_evaluated_model`.
        class_names: of the dataset, in the order of its labels.
        policy: Keras dtype policy that it computes in.

    Raises:
        UserError: there is no such model, or it does not answer with the dataset's classes.
        JobError, DiskFull: as `open_evaluated_model`.
    """
    try:
        opened = open_evaluated_model(name)
        model = opened.load(None, "keep", policy)
    except UserError as error:
        raise type(error)(f"distillation.teacher: {error}") from error
    if model.num_classes != len(class_names):
        raise UserError(
            f"distillation.teacher {name} has {model.num_classes or 'no'} classes, the dataset "
            f"{len(class_names)}: fine-tune it on this dataset first"
        )
    description = opened.export.description if opened.export else None
    if (description.activation if description else opened.activation) != "softmax":
        raise UserError(
            f"distillation.teacher {name} was trained with loss sigmoid: what it says of all "
            "classes together is no distribution; choose one trained with loss softmax"
        )
    names = (description.class_names if description else model.class_names) or ()
    if set(names) == set(class_names) and (wrong := differing_classes(names, class_names)):
        raise UserError(f"distillation.teacher {name}: the dataset has {wrong}, compared with it")
    model.trainable = False
    return Teacher(model, opened.fingerprint)
