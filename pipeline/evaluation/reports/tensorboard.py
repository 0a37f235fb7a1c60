"""Final figures and pictures of a report for TensorBoard, with its HParams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from pipeline.evaluation.reports.transfer_result import TransferResult
from pipeline.figures.tensorboard_pictures import show_pictures


def write_events(
    folder: Path, result: TransferResult, text: str, pictures: Mapping[str, Path]
) -> None:
    """Write one event file, in place of those of an earlier evaluation.

    Args:
        folder: to write to.
        result: of the evaluation.
        text: the tables, as Markdown.
        pictures: PNG files by name.
    """
    model = result.model
    scalars = {
        f"transfer_{name}/{learner}/{setting}": score.mean
        for name, protocol in result.protocols.items()
        for learner in protocol.scores
        for setting, score in protocol.columns(learner).items()
    }
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=int(model["origin"].get("step", 0))):
        hparams.hparams_config([], [hparams.Metric(name) for name in scalars if "/model/" in name])
        hparams.hparams(
            {
                "model": model["folder"],
                "variant": model["variant"],
                "image_size": "x".join(map(str, model["image_size"])) or "other",
                "data": result.data.identity["source"],
            }
        )
        tf.summary.text("transfer/report", text)
        show_pictures("transfer", pictures)
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()
