"""Classify image files with an exported model: `python -m pipeline.classify --help`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from groundwork import command_line, storage
from groundwork.errors import UserError
from groundwork.progress import Progress
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.serving.outputs import check_picture, writing_to
from pipeline.serving.predictions import (
    Answer,
    check_table,
    classify,
    find_images,
    writing_table,
)

if TYPE_CHECKING:
    from pipeline.serving.loading import Export

PROG = "python -m pipeline.classify"
SHOWN = 3
"""Classes above the picture of an image that may have several."""
DRAWN = 64
SOME_FAILED = 1
"""Exit status when some images, not all, could not be read."""
NAMED = 20
"""Files without answer that are named at the end of a table; it has all."""


@dataclass
class ClassifyConfig:
    """Print the classes of image files, or write a table of them."""

    POSITIONAL: ClassVar[str] = "images"

    images: list[str]
    """Image files, JPEG, PNG, GIF, BMP or WebP, and folders of them at any depth."""
    model: str
    """Export folder, workdir, file of weights, or a name such as hf://timm/NAME or vit:ViT-B_16.
    What is no export is made into one for each call: `python -m pipeline.export --model NAME`
    makes one that stays."""
    output: str | None = None
    """Table to write instead of printing: a .csv, .jsonl or .parquet file. A row for each image has
    path, class, problem (why there is no class), and names and probabilities of the `top` classes.
    """
    top: int = 5
    """Number of classes to tell for each image, the most probable first."""
    threshold: float | None = None
    """Probability, from 0 to 1, below which a class is not taken: the table's `class` is empty
    where none is, and what is printed says so. null: 0, and of a model for any number of labels to
    an image each class's own, that of its best F1 in the run's evaluation."""
    batch_size: int = 32
    """Images that the model takes at a time."""
    attention: str | None = None
    """PNG file to draw the images to, the first 64 at most, with the model's attention rollout."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = command_line.parse(ClassifyConfig, argv, prog=PROG)
    if options.top < 1 or not options.images:
        raise UserError("give one or more image files, and --top of at least 1")
    if options.batch_size < 1:
        raise UserError(f"--batch_size {options.batch_size}: give at least 1")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold is {options.threshold}: give a probability, from 0 to 1")
    if options.attention:
        check_picture(options.attention, "--attention")
    if options.output:
        check_table(options.output, "--output")
    options.images, others = find_images(options.images)
    if others:
        print(f"{others} files that are no images by their names are passed over", file=sys.stderr)
    import_tensorflow()
    from pipeline.named_models.evaluated_model import opened_as_export

    with opened_as_export(options.model) as export:
        if not export.description.class_names:
            raise UserError(
                f"{options.model} has no head, only features: export a model with classes"
            )
        good, bad = _write(export, options) if options.output else _print(export, options)
        if options.attention and good:
            _draw(export, good[:DRAWN], options.attention)
            print(f"attention {options.attention}")
    if not good:
        raise UserError("none of the images could be read")
    return SOME_FAILED if bad else 0


def _print(export: Export, options: ClassifyConfig) -> tuple[list[Answer], list[Answer]]:
    """Print the answers; gives those, and what has none."""
    good, bad = [], []
    for answers in _answers(export, options):
        for answer in answers:
            if answer.problem:
                bad.append(answer)
                print(f"{answer.path}: {answer.problem}", file=sys.stderr)
                continue
            good.append(answer)
            print(answer.path)
            if answer.chosen is None:
                print("  none: no class reaches its threshold")
            for name, probability in answer.classes:
                print(f"  {100 * probability:5.1f} %  {name}")
    return good, bad


def _write(export: Export, options: ClassifyConfig) -> tuple[list[Answer], list[Answer]]:
    """Write the table; gives the answers, and what has none."""
    assert options.output is not None
    good: list[Answer] = []
    bad: list[Answer] = []
    started = time.monotonic()
    top = min(options.top, len(export.description.class_names))
    with writing_to(options.output, "--output"), writing_table(options.output) as add:
        for answers in _with_progress(export, options):
            add([answer.row(top) for answer in answers])
            bad += [answer for answer in answers if answer.problem]
            good += [answer for answer in answers if not answer.problem]
        unsure = sum(answer.chosen is None for answer in good)
        if not good:
            raise UserError("none of the images could be read")
    seconds = time.monotonic() - started
    for answer in bad[:NAMED]:
        print(f"{answer.path}: {answer.problem}", file=sys.stderr)
    if len(bad) > NAMED:
        print(f"and {len(bad) - NAMED} more, see `problem` in the table", file=sys.stderr)
    print(
        f"{len(good) + len(bad)} images in {seconds:.1f} s, "
        f"{(len(good) + len(bad)) / seconds:.1f} images/s; {len(bad)} could not be read, "
        f"{unsure} reach no threshold\n"
        f"table     {options.output}"
    )
    return good, bad


def _answers(export: Export, options: ClassifyConfig) -> Iterator[list[Answer]]:
    return classify(export, options.images, options.top, options.batch_size, options.threshold)


def _with_progress(export: Export, options: ClassifyConfig) -> Iterator[list[Answer]]:
    progress = Progress("classify", len(options.images))
    done, started = 0, time.monotonic()
    try:
        for answers in _answers(export, options):
            yield answers
            done += len(answers)
            progress.update(done, f"{done / (time.monotonic() - started):.1f} images/s")
    finally:
        progress.close()


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
