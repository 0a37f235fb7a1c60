"""The options of a training job; `--help` and the recipes are made from them.

Nothing here imports TensorFlow: help, `--print_config` and argument errors answer at once.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.data.data_config import DataConfig
from pipeline.devices.device_options import DeviceOptions
from pipeline.training.loop.loop_options import LoopOptions
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.step.step_config import StepConfig

DEFAULT_RECIPE = "quickstart"
"""What a run is where no recipe is named."""


@dataclass
class TransferJob:
    """Transfer evaluation after training: the arguments of `python -m pipeline.transfer`."""

    source: str | None = None
    """Dataset folder or TFDS name to evaluate on; null: that of the run, of which images held out
    from training tell whether it was worth it."""
    prepare: str | None = None
    """Module and arguments of the job that makes `source` where it does not exist yet."""
    train_split: str = "train"
    """Split that the few shots are drawn from."""
    test_split: str | None = None
    """Split that accuracy is measured on; null: test, or validation where there is no test."""


@dataclass(kw_only=True)
class PretrainConfig(StepConfig, LoopOptions, DeviceOptions):
    """Pre-train a Vision Transformer; then export it and evaluate its transfer."""

    COMMON: ClassVar[tuple[str, ...]] = (
        "data.source",
        "workdir",
        "model.variant",
        "data.image_size",
        "steps",
        "epochs",
        "batch_size",
        "accumulate",
        "optim.peak_lr",
        "optim.weight_decay",
        "data.augment_preset",
        "init_from",
        "strategy",
        "precision",
    )

    data: DataConfig
    workdir: str
    """Folder of checkpoints, TensorBoard, metrics.jsonl, export and reports. A run that was
    stopped goes on from here."""
    model: ModelConfig = field(default_factory=ModelConfig)
    steps: int | None = None
    """Optimizer steps; give this or `epochs`."""
    epochs: float | None = None
    """Passes over the training split; give this or `steps`."""
    ema_decay: float | None = None
    """Decay of a moving average of the weights, such as 0.9999, which is then what is evaluated
    and exported; null: none."""
    seed: int = 0
    """Everything random follows from it: initial weights, order, augmentation, dropout."""
    resume: str | None = None
    """Workdir of another run to take model, optimizer and step from, where this workdir holds no
    checkpoint."""
    init_from: str | None = None
    """What to take weights from, where there is no checkpoint to resume: an export, a workdir, a
    file (`.keras`, `.npz`, `.safetensors`), or a name such as hf://timm/NAME or vit:ViT-B_16. A
    head of other classes starts anew."""
    export: bool = True
    """Write the SavedModel and the `.keras` file to WORKDIR/export at the end."""
    transfer: TransferJob | None = None
    """Transfer evaluation at the end; its report goes to WORKDIR/transfer."""

    def planned_steps(self, images: int) -> int:
        """Optimizer steps on a split of so many images: of an epoch, its whole batches."""
        if self.epochs is None:
            assert self.steps is not None  # check_run_config
            return self.steps
        return max(1, round(self.epochs * (images // self.batch_size)))
