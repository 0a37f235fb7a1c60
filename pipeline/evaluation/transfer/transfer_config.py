"""Options of transfer evaluation. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig
from pipeline.evaluation.protocols.few_shot import FewShot
from pipeline.evaluation.protocols.knn import NearestNeighbors
from pipeline.evaluation.protocols.linear_probe import LinearProbe
from pipeline.evaluation.protocols.protocol import FrozenProtocol
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData

Baseline = Literal["untrained", "raw_pixels"]


@dataclass(kw_only=True)
class ProtocolTable:
    """The protocols, a row each: name, options, and with these what is done.

    Each learns more than the one above it. Of those that are run, the last is the one whose
    predictions a report looks into.
    """

    knn: NearestNeighbors = field(default_factory=NearestNeighbors)
    few_shot: FewShot = field(default_factory=FewShot)
    linear_probe: LinearProbe = field(default_factory=LinearProbe)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)


PROTOCOL_NAMES = tuple(row.name for row in fields(ProtocolTable))


@dataclass
class TransferConfig(ProtocolTable):
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
    """Export folder, workdir, file of weights, or a name such as hf://timm/NAME or vit:ViT-B_16. Of
    what is no export the frozen protocols write one to OUTPUT/evaluated_model."""
    data: TransferData
    output: str
    """Folder of the report: result.json, report.md, report.html, pictures, TensorBoard. At a URL,
    gs://… or s3://…, it appears when it is finished, without the features."""
    tasks: list[str] = field(default_factory=list)
    """VTAB-1k tasks in place of `data.source`: vtab for all 19, a group such as vtab/natural,
    vtab/specialized or vtab/structured, or a task such as vtab/cifar100. Tasks whose data TFDS has
    not prepared are listed, and the rest is run."""
    extra_tests: list[ExtraTest] = field(default_factory=list)
    """Test sets that what was learned from `data.source` is measured on too, such as
    '[{name: ReaL, source: imagenet2012_real}, {name: v2, source: imagenet_v2/matched-frequency}]'.
    A prediction is right if it is one of the image's labels; images without label do not count.
    Other fields: split, label_key, and real_labels (the file real.json, in place of the labels of
    a dataset of ILSVRC2012's validation images). Those that TFDS has not prepared are listed."""
    protocols: list[str] = field(default_factory=lambda: ["few_shot"])
    """What to measure: few_shot, linear_probe and knn on frozen features, from the SavedModel
    alone; fine_tune trains all weights."""
    baselines: list[Baseline] = field(default_factory=lambda: ["untrained", "raw_pixels"])
    """What to set beside the model: the same architecture with fresh weights, and the pixels at
    32x32 or less."""
    batch_size: int = 256
    """Images per call of the SavedModel."""
    cache: str | None = None
    """Folder that keeps features by the fingerprints of model and data; null: OUTPUT/features,
    which is not kept where OUTPUT is a URL."""
    attention_images: int = 8
    """Test images shown with the model's attention over them; 0: none."""
    seed: int = 0
    """Of the untrained model's weights and of the validation part."""

    def chosen_protocols(self) -> dict[str, FrozenProtocol | FineTuneConfig]:
        """The protocols to run by name, in the order of the table."""
        return {name: getattr(self, name) for name in PROTOCOL_NAMES if name in self.protocols}
