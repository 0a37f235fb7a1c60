"""The splits of a run: those that the dataset has, or a part of each class held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.data.dataset.class_counts import read_labels
from pipeline.data.dataset.source import Source
from pipeline.data.dataset.split import Split


def train_and_eval(
    source: Source, train_split: str, eval_split: str | None, held_out: float | None
) -> tuple[Split, Split | None]:
    """What to train on, and what to evaluate on.

    Args:
        source: the dataset.
        train_split: in TFDS notation.
        eval_split: the same; None: no evaluation, or that of `held_out`.
        held_out: share of `train_split` to evaluate on instead; None: none.

    Raises:
        UserError: no such split, or examples without label.
    """
    train = source.split(train_split)
    if held_out is not None:
        return hold_out(train, held_out, source.num_classes)
    return train, source.split(eval_split) if eval_split else None


def hold_out(split: Split, share: float, num_classes: int) -> tuple[Split, Split]:
    """Divide a split, the same share of each class: what is left, and what is held out.

    Of a class with two images or more at least one is held out, and at least one is left; that of
    a class with one image is left. Which they are follows from the labels and their order alone.

    Raises:
        UserError: examples without label.
    """
    labels = read_labels(split, num_classes)
    generator = np.random.default_rng(0)
    chosen = np.zeros(len(labels), bool)
    for label in range(num_classes):
        own = generator.permutation(np.flatnonzero(labels == label))
        chosen[own[: min(max(1, round(share * len(own))), len(own) - 1)]] = True
    left, out = (split.select(np.flatnonzero(part).tolist()) for part in (~chosen, chosen))
    return (
        replace(left, name=f"{split.name} less {share:.0%} of each class"),
        replace(out, name=f"{share:.0%} of each class of {split.name}"),
    )
