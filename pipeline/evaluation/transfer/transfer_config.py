"""Options of transfer evaluation. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.protocols.protocol_config import (
    FewShotConfig,
    KnnConfig,
    LinearProbeConfig,
)
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData

Protocol = Literal["few_shot", "linear_probe", "knn", "fine_tune"]
Baseline = Literal["untrained", "raw_pixels"]


@dataclass
class TransferConfig:
    """Evaluate how an exported model transfers to another dataset; write a report."""

    COMMON: ClassVar[tuple[str, ...]] = (
        "model",
        "data.source",
        "output",
        "protocols",
        "few_shot.shots",
        "tasks",
        "data.train_split",
        "data.test_split",
        "fine_tune.steps",
        "fine_tune.image_size",
        "fine_tune.batch_size",
    )

    model: str
    """Export folder, as `python -m pipeline.export` writes it. fine_tune also takes a workdir, a
    `.keras` file or an official `.npz` checkpoint."""
    data: TransferData
    output: str
    """Folder of the report: result.json, report.md, report.html, pictures, TensorBoard."""
    tasks: list[str] = field(default_factory=list)
    """VTAB-1k tasks in place of `data.source`: vtab for all 19, a group such as vtab/natural,
    vtab/specialized or vtab/structured, or a task such as vtab/cifar100. Tasks whose data TFDS has
    not prepared are listed, and the rest is run."""
    extra_tests: list[ExtraTest] = field(default_factory=list)
    """Test sets that what was learnt from `data.source` is measured on too, such as
    '[{name: ReaL, source: imagenet2012_real}, {name: v2, source: imagenet_v2/matched-frequency}]'.
    A prediction is right if it is one of the image's labels; images without label do not count.
    Other fields: split, label_key, and real_labels (the file real.json, in place of the labels of
    a dataset of ILSVRC2012's validation images). Those that TFDS has not prepared are listed."""
    protocols: list[Protocol] = field(default_factory=lambda: ["few_shot"])
    """What to measure: few_shot, linear_probe and knn on frozen features, from the SavedModel
    alone; fine_tune trains all weights."""
    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    linear_probe: LinearProbeConfig = field(default_factory=LinearProbeConfig)
    knn: KnnConfig = field(default_factory=KnnConfig)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    baselines: list[Baseline] = field(default_factory=lambda: ["untrained", "raw_pixels"])
    """What to set beside the model: the same architecture with fresh weights, and the pixels at
    32x32 or less."""
    batch_size: int = 256
    """Images per call of the SavedModel."""
    cache: str | None = None
    """Folder that keeps features by the fingerprints of model and data; null: OUTPUT/features."""
    attention_images: int = 8
    """Test images shown with the model's attention over them; 0: none."""
    seed: int = 0
    """Of the untrained model's weights and of the validation part."""
