"""Typed configuration of transfer evaluation. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["few_shot", "linear_probe", "knn", "fine_tune"]
Baseline = Literal["untrained", "raw_pixels"]


@dataclass
class TransferData:
    """The downstream dataset."""

    source: str | None = None
    """Dataset folder (as written by `beam_jobs` or by TFDS), or a TFDS name such as cifar100. Give
    this or `tasks`."""
    data_dir: str | None = None
    """Where TFDS keeps its datasets, for a `source` that is a TFDS name, and for `tasks`."""
    train_split: str = "train"
    """Split to learn from, in TFDS notation."""
    validation_split: str | None = None
    """Split that settings are chosen on (L2 of few_shot, regularisation of linear_probe); null: a
    fifth of `train_split`, drawn by `seed`. Nothing is ever chosen on `test_split`."""
    test_split: str | None = None
    """Split that accuracy is measured on; null: test, or validation where there is no test."""
    image_key: str = "image"
    """Name of the image feature."""
    label_key: str = "label"
    """Name of the class label feature."""


@dataclass
class ExtraTest:
    """Another test set for what was learnt."""

    source: str
    """Dataset folder or TFDS name whose classes have the names of those of `data.source`, or of
    some of them; such as imagenet_v2/matched-frequency or imagenet2012_real."""
    name: str | None = None
    """Heading of its column in the report; null: `source`."""
    split: str | None = None
    """Split to measure on; null: test, or validation where there is no test."""
    label_key: str | None = None
    """Name of the feature that is a class label or, with several right answers, a sequence of them;
    null: `data.label_key` or, where there is none, real_label."""
    real_labels: str | None = None
    """real.json of github.com/google-research/reassessed-imagenet, for a dataset that holds the
    validation images of ILSVRC2012 under their file names; null: the labels of the dataset."""

    @property
    def heading(self) -> str:
        """What it is called in reports."""
        return self.name or self.source


@dataclass
class FewShotConfig:
    """Closed-form least squares on k images of each class (section 4.1 of the ViT paper)."""

    shots: list[int] = field(default_factory=lambda: [1, 5, 10, 25])
    """Images of each class to learn from."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Draws of the images; mean and deviation are over these."""
    l2: list[float] = field(default_factory=lambda: [1024.0])
    """Strength of the ridge penalty; of several, each number of shots takes the best on the
    validation part."""


@dataclass
class LinearProbeConfig:
    """Logistic regression on frozen features."""

    c: list[float] = field(default_factory=lambda: [10.0**power for power in range(-5, 2)])
    """Inverse strength of the L2 penalty, as in scikit-learn; the best on the validation part is
    taken."""
    max_iterations: int = 1000
    """Largest number of L-BFGS iterations."""


@dataclass
class KnnConfig:
    """Nearest neighbours of frozen features, by cosine."""

    k: list[int] = field(default_factory=lambda: [1, 5, 20])
    """Numbers of neighbours that vote; each is reported, none is chosen."""


@dataclass
class FineTuneConfig:
    """Training of all weights with a new head."""

    recipe: Literal["paper", "bit_hyperrule"] = "paper"
    """paper: Table 4 of the ViT paper (SGD with momentum, cosine, clipping, one new linear head).
    bit_hyperrule: BiT-HyperRule, which derives steps, resolution and MixUp from the dataset."""
    learning_rates: list[float] | None = None
    """Peak rates to try; of several, the best on the dev split is taken for the final runs. null:
    the recipe's, which for paper are 0.001, 0.003, 0.01 and 0.03."""
    steps: int | None = None
    """Steps of each run; null: the recipe's, which for paper are 500 below 20,000 training images,
    10,000 below a million, else 20,000."""
    image_size: int | None = None
    """Height and width in pixels; null: the recipe's, which for paper is 384. Position embeddings
    are resampled."""
    batch_size: int = 512
    """Images per step, over all replicas and microbatches; the whole training split, but for what
    these cannot share evenly, where it is smaller."""
    accumulate: int = 1
    """Microbatches that each replica splits its share of the batch into, to save memory."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; null: the recipe's, which for paper is a tenth of the steps, 500 at
    most."""
    polyak_decay: float | None = None
    """Decay of a moving average of the weights (the paper's ImageNet results: 0.9999), which is
    then what is evaluated; null: none."""
    flip: bool = True
    """Mirror half of the training images. Off where left and right differ, as in digits."""
    random_crop: bool = True
    """Crop training images at random; off: only resize them."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Final runs; mean and deviation are over these. The sweep takes the first."""
    strategy: Literal["auto", "default", "mirrored", "tpu"] = "auto"
    """tf.distribute strategy. auto: tpu on a TPU host, mirrored over several GPUs, otherwise
    default (one device). The result does not depend on the number of replicas."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type. auto: bfloat16 on TPUs and on GPUs that have it, otherwise float32. Weights are
    float32 always."""
    export: bool = True
    """Write the fine-tuned model of the first seed to OUTPUT/model, an export folder."""


@dataclass
class TransferConfig:
    """Evaluate how an exported model transfers to another dataset; write a report."""

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
