"""Classify image files with an exported model: `python -m pipeline.classify --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from groundwork import command_line, storage
from groundwork.errors import UserError
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.serving.outputs import check_picture, writing_to

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.serving.loading import Export

PROG = "python -m pipeline.classify"
SHOWN = 3
"""Classes above the picture of an image that may have several."""
SOME_FAILED = 1
"""Exit status when some images, not all, could not be read."""


@dataclass
class ClassifyConfig:
    """Print the classes of image files."""

    POSITIONAL: ClassVar[str] = "images"

    images: list[str]
    """Image files: JPEG, PNG, GIF, BMP or WebP."""
    model: str
    """Export folder, workdir, file of weights, or a name such as hf://timm/NAME or vit:ViT-B_16.
    What is no export is made into one for each call: `python -m pipeline.export --model NAME`
    makes one that stays."""
    top: int = 5
    """Number of classes to print for each image, the most probable first."""
    threshold: float | None = None
    """Of a model for any number of labels to an image: print the classes of at least this
    probability; null: each class has a threshold of its own, that of its best F1 in the run's
    evaluation."""
    attention: str | None = None
    """PNG file to draw the images to, with the model's attention rollout over them."""


@dataclass(frozen=True)
class Answer:
    """The classes of one image, most probable first; or why it has none."""

    path: str
    classes: list[tuple[str, float]]
    """Name and probability, 0 to 1."""
    problem: str | None = None


def classify(
    export: Export, paths: Sequence[str], top: int, threshold: float | None = None
) -> list[Answer]:
    """Classify image files, each as a request of its own.

    Args:
        export: a model with a head.
        paths: image files.
        top: classes to give for each; of a model for any number of labels all that reach their
            thresholds.
        threshold: of all classes of such a model; None: their own.
    """
    return [_classify_one(export, path, top, threshold) for path in paths]


def _classify_one(export: Export, path: str, top: int, threshold: float | None) -> Answer:
    import tensorflow as tf

    from pipeline.serving.loading import NOT_AN_IMAGE

    try:
        encoded = storage.read(path)
    except OSError as error:
        return Answer(path, [], error.strerror or str(error))
    answer = export.saved_model.signatures["serve"](image_bytes=tf.constant([encoded]))
    if not answer["valid"].numpy()[0]:
        return Answer(path, [], NOT_AN_IMAGE)
    probabilities: NDArray[np.float32] = answer["probabilities"].numpy()[0]
    order = (-probabilities).argsort(kind="stable")
    if thresholds := export.description.thresholds:
        least = thresholds if threshold is None else [threshold] * len(thresholds)
        order = order[(probabilities >= least)[order]]
    else:
        order = order[:top]
    names = export.description.class_names
    return Answer(path, [(names[index], float(probabilities[index])) for index in order])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = command_line.parse(ClassifyConfig, argv, prog=PROG)
    if options.top < 1 or not options.images:
        raise UserError("give one or more image files, and --top of at least 1")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold is {options.threshold}: give a probability, from 0 to 1")
    if options.attention:
        check_picture(options.attention, "--attention")
    import_tensorflow()
    from pipeline.named_models.evaluated_model import opened_as_export

    with opened_as_export(options.model) as export:
        return _classify_and_print(export, options)


def _classify_and_print(export: Export, options: ClassifyConfig) -> int:
    if not export.description.class_names:
        raise UserError(f"{options.model} has no head, only features: export a model with classes")
    if options.threshold is not None and not export.description.thresholds:
        raise UserError(
            f"--threshold is for any number of labels to an image, and {options.model} gives an "
            "image one: give --top"
        )
    answers = classify(export, options.images, options.top, options.threshold)
    for answer in answers:
        if answer.problem:
            print(f"{answer.path}: {answer.problem}", file=sys.stderr)
            continue
        print(answer.path)
        for name, probability in answer.classes:
            print(f"  {100 * probability:5.1f} %  {name}")
        if not answer.classes:
            print("  none: no class reaches its threshold")
    good = [answer for answer in answers if not answer.problem]
    if options.attention and good:
        _draw(export, good, options.attention)
        print(f"attention {options.attention}")
    if not good:
        raise UserError("none of the images could be read")
    return SOME_FAILED if len(good) < len(answers) else 0


def _draw(export: Export, answers: Sequence[Answer], path: str) -> None:
    import numpy as np

    from pipeline.figures.attention_picture import draw_attention, has_attention

    model = export.keras_model()
    if not has_attention(model):
        raise UserError("--attention: this model is not a plain ViT, it has no attention to draw")
    # Read again; one that has changed since it was classified is left out.
    read = [(answer, export.pixels(storage.read(answer.path))) for answer in answers]
    several = bool(export.description.thresholds)
    drawn = [
        (image, ", ".join(name for name, _ in answer.classes[: SHOWN if several else 1]))
        for answer, image in read
        if image is not None
    ]
    if not drawn:
        raise UserError("--attention: none of the images can be read any more")
    with writing_to(path, "--attention"):
        draw_attention(
            model, np.stack([image for image, _ in drawn]), [t for _, t in drawn], Path(path)
        )


if __name__ == "__main__":
    command_line.run_main(main)
