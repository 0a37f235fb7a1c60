"""The gallery of mistakes: images, what they are, what they were taken for, and how surely."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import tensorflow as tf

from groundwork.pages import Gallery, Picture, Score, Tile
from pipeline.data.dataset.split import Split, read_records
from pipeline.data.images.image_decoding import decode_rgb
from pipeline.evaluation.protocols.protocol import Outcome
from pipeline.evaluation.reports.analysis import most_instructive_errors

MISTAKES = 120
ANSWERS = 5
THUMBNAIL = 160
"""Longest side of a shown image, in pixels."""


def mistakes_gallery(
    test: Split, outcome: Outcome, names: Sequence[str], keys: Sequence[str]
) -> Gallery | None:
    """Mistakes of the first seed, the most confident of each class; None without mistakes.

    Args:
        test: the split that was predicted.
        outcome: of the protocol that is looked into.
        names: of the classes.
        keys: of the test images.
    """
    predictions, probabilities = outcome.predictions[0], outcome.probabilities
    confidences = None if probabilities is None else probabilities.max(axis=1)
    chosen = most_instructive_errors(outcome.labels, predictions, confidences, MISTAKES)
    if not chosen:
        return None
    tiles = []
    for index, image in zip(chosen, thumbnails(test.select(chosen)), strict=True):
        label, predicted = names[outcome.labels[index]], names[predictions[index]]
        tiles.append(
            Tile(
                [Picture(image, f"{label}, taken for {predicted}")],
                caption=f"{label} → {predicted}",
                note=keys[index],
                facets={"Label": [label], "Taken for": [predicted]},
                answers=_answers(probabilities[index], outcome.labels[index], names)
                if probabilities is not None
                else (),
            )
        )
    wrong = int(np.sum(outcome.labels != predictions))
    return Gallery(
        tiles,
        caption=f"{len(tiles)} of {wrong:,} mistakes, the most confident of each class first.",
    )


def _answers(probabilities: np.ndarray, label: int, names: Sequence[str]) -> list[Score]:
    best = np.argsort(-probabilities, kind="stable")[:ANSWERS]
    return [Score(names[i], float(probabilities[i]), right=bool(i == label)) for i in best]


def thumbnails(split: Split) -> list[bytes]:
    """Each image as a small JPEG."""
    return [_thumbnail(split.parse(record)[0]) for record in read_records(split.files)]


def _thumbnail(encoded: tf.Tensor) -> bytes:
    image = PIL.Image.fromarray(decode_rgb(encoded).numpy().astype(np.uint8))
    scale = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    file = io.BytesIO()
    image.resize(size, PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()
