"""Final figures and pictures of a report for TensorBoard, with its HParams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from pipeline.evaluation.reports.score_table import HEADINGS, columns


def write_events(
    folder: Path, result: dict[str, Any], text: str, pictures: dict[str, Path]
) -> None:
    """Write one event file, in place of those of an earlier evaluation.

    Args:
        folder: to write to.
        result: what result.json holds.
        text: the tables, as Markdown.
        pictures: PNG files by name.
    """
    model = result["model"]
    scalars = {
        f"transfer_{protocol}/{learner}/{setting}": score["mean"]
        for protocol in HEADINGS
        for learner, scores in result.get(protocol, {}).items()
        for setting, score in columns(scores).items()
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
                "data": result["data"]["source"],
            }
        )
        tf.summary.text("transfer/report", text)
        for name, path in pictures.items():
            image = np.asarray(PIL.Image.open(path).convert("RGB"))
            tf.summary.image(f"transfer/{name}", image[None])
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()
