"""OUTPUT/model: the fine-tuned model as an export folder, with its model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.fine_tuning.fine_tune_protocol import FinalModel
from pipeline.evaluation.tasks.task import Task
from pipeline.named_models.evaluated_model import EvaluatedModel
from pipeline.serving.description import FILE_NAME, KERAS_FILE, Description
from pipeline.serving.export_folder import export_model

LISTED_CLASSES = 20


@dataclass(frozen=True)
class FineTunedExport:
    """A `Keeper` that writes an export folder."""

    folder: Path
    evaluated: EvaluatedModel
    task: Task

    def holds(self, run: str) -> bool:
        """Whether the folder has the model of this run."""
        try:
            text = (self.folder / FILE_NAME).read_text(encoding="utf-8")
            return bool(json.loads(text)["origin"]["fine_tuning_run"] == run)
        except (OSError, ValueError, KeyError):
            return False

    def keep(self, final: FinalModel) -> None:
        """Write the folder in place of what is there."""
        export_model(
            final.model,
            final.preprocess,
            self.task.class_names,
            str(self.folder),
            variant=str(self.evaluated.identity["variant"]),
            origin={
                "fine_tuned_from": self.evaluated.identity,
                "data": self.task.identity,
                "fine_tuning_run": final.run,
            },
            card=lambda description: self._card(final, description),
        )

    def _card(self, final: FinalModel, description: Description) -> str:
        """The text of `README.md`."""
        height, width = description.image_size
        recipe, names = final.recipe, self.task.class_names
        listed = ", ".join(f"`{_in_backticks(name)}`" for name in names[:LISTED_CLASSES])
        more = f", … ({len(names)} in all; see `export.json`)" * (len(names) > LISTED_CLASSES)
        split = self.task.final_split()
        tried = "".join(
            f"\n- Dev accuracy at {rate:g}: {value:.2%}"
            for rate, value in final.dev_accuracies.items()
        )
        return f"""# {description.variant} at {height}×{width}, fine-tuned on {self.task.name}

An image classifier with {len(names)} classes: all weights of `{self.evaluated.name}` fine-tuned.
SHA-256 of the SavedModel: `{description.fingerprint}`

## Use

The SavedModel takes encoded images of any size: `python -m pipeline.classify --model this/folder
photo.jpg`, or its signature `serve` in TensorFlow alone, with `image_bytes` of shape `[batch]` and
`probabilities` of shape `[batch, {len(names)}]`. `{KERAS_FILE}` is the model for Keras, without the
preprocessing.

## Results

- Accuracy on `{self.task.test.name}` ({self.task.test.num_examples:,} images, each once): \
{final.accuracy:.2%}{tried}

## Data

- Dataset: `{self.task.identity["source"]}`, `{self.task.identity["version"]}`
- Trained on {split.num_examples:,} images of `{split.name}`
- Classes: {listed}{more}

## Training

- {recipe.steps:,} steps of {recipe.batch_size:,} images, SGD with momentum {recipe.momentum:g}, \
peak learning rate {final.rate:g}
- From: `{self.evaluated.name}`, SHA-256 `{self.evaluated.fingerprint}`

## Limits

- It knows the classes above and no others: an image of none of them gets one of them all the same.
- The accuracy is of images like those it was trained on; evaluate it on yours before relying on it.
"""


def _in_backticks(name: str) -> str:
    return " ".join(name.replace("`", "'").split())
