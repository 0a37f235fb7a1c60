"""Options of `python -m pipeline.finetune`. Nothing here imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from groundwork.errors import UserError
from pipeline.devices.device_options import DeviceOptions


@dataclass(kw_only=True)
class FinetuneData:
    """The images."""

    source: str
    """Folder of images with a folder for each class, an archive or a table of them, of all of which
    `build_dataset` makes a dataset in OUTPUT/dataset; or a dataset folder, or a TFDS name."""
    data_dir: str | None = None
    """Where TFDS keeps its datasets, for a `source` that is a TFDS name."""
    train_split: str = "train"
    """Split to train on, in TFDS notation."""
    eval_split: str | None = None
    """Split on which to stop early and to choose the checkpoint; null: validation or, without one,
    a tenth of each class of `train_split`, which is not trained on."""
    image_key: str = "image"
    """Name of the image feature."""
    label_key: str = "label"
    """Name of the class label feature."""
    flip: bool = True
    """Mirror half of the training images. Off where left and right differ, as in letters."""


@dataclass(kw_only=True)
class FinetuneConfig(DeviceOptions):
    """Fine-tune a trained model on your own images; export the classifier and report on it.

    What is not given is chosen for model, images and machine, and printed. Each run is one of
    `python -m pipeline.pretrain`, whose recipe is its config.yaml.
    """

    COMMON: ClassVar[tuple[str, ...]] = (
        "model",
        "data.source",
        "output",
        "train",
        "image_size",
        "epochs",
        "batch_size",
        "learning_rates",
        "data.eval_split",
        "data.flip",
        "preflight",
    )

    model: str
    """Export folder, workdir, file of weights, or a name such as hf://timm/NAME or vit:ViT-B_16."""
    data: FinetuneData
    output: str
    """Folder to write: runs, export, report. The same command goes on where it was stopped."""
    train: Literal["all", "lora", "head"] = "all"
    """What is trained: all weights; the head and LoRA in the encoder blocks, merged in the export,
    which needs less memory; or the head alone."""
    lora_rank: int = 8
    """Rank of LoRA."""
    frozen_blocks: int | None = None
    """So many of the first encoder blocks, and what stands before them, are not trained; null: all
    are."""
    probe_epochs: float = 0.0
    """Epochs in which the head alone learns before the rest joins in: linear probing, then
    fine-tuning (arXiv 2202.10054)."""
    image_size: int | None = None
    """Height and width in pixels; null: the model's own."""
    epochs: float | None = None
    """Passes over the training images, at most; null: 40 for less than 1,000 images, falling to 5
    for more than 100,000."""
    batch_size: int | None = None
    """Images of a step, over all devices; null: 32 for less than 5,000 images, otherwise 128."""
    learning_rates: list[float] | None = None
    """Peak rates. Of several, each is a run, and the best on the held-out images is taken; null:
    one, for the kind of model and of training."""
    patience: int = 10
    """Stop after so many evaluations, one an epoch, without a better loss or, from 1,000
    held-out images on, accuracy."""
    seed: int = 0
    """Everything random follows from it."""
    attention_images: int = 12
    """Images, and mistakes, that the report shows with the model's attention; 0: none."""
    preflight: bool = False
    """Print the plan and check that it starts and fits, and end."""

    def check(self) -> None:
        """Raise a UserError where the options cannot be."""
        for name in ("image_size", "epochs", "batch_size", "lora_rank", "patience"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"{name} is {value}: it must be greater than 0")
        for name in ("probe_epochs", "attention_images"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: it must not be negative")
        rates = self.learning_rates
        if rates is not None and (not rates or min(rates) <= 0 or len(set(rates)) < len(rates)):
            raise UserError("learning_rates: give one or more, each greater than 0, each once")
        if self.frozen_blocks is not None and self.train != "all":
            raise UserError(f"frozen_blocks is for --train all, not for {self.train}")
        if self.probe_epochs and self.train == "head":
            raise UserError("probe_epochs is for --train all or lora: with head there is no more")
