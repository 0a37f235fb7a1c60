"""Options of fine-tuning. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class FineTuneConfig:
    """Training of all weights with a new head."""

    recipe: Literal["paper", "bit_hyperrule"] = "paper"
    """Settings of a run. paper: Table 4 of the ViT paper (SGD with momentum, cosine, clipping, one
    new linear head). bit_hyperrule: BiT-HyperRule, which derives steps, resolution and MixUp from
    the dataset."""
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
    """Strategy of `tf.distribute`. auto: tpu on a TPU host, mirrored over several GPUs, otherwise
    default (one device). The result does not depend on the number of replicas."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type. auto: bfloat16 on TPUs and on GPUs that have it, otherwise float32. Weights are
    float32 always."""
    export: bool = True
    """Write the fine-tuned model of the first seed to OUTPUT/model, an export folder."""
