"""Options of fine-tuning. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from groundwork.errors import UserError
from pipeline.evaluation.protocols.checks import check_positive, check_seeds

PAPER_RATES = (0.001, 0.003, 0.01, 0.03)
HYPERRULE_RATE = 0.003


@dataclass
class FineTuneConfig:
    """Training of all weights with a new head."""

    HEADING: ClassVar[str] = "Fine-tuning of all weights"
    SETTING: ClassVar[str] = ""
    MULTI_LABEL: ClassVar[bool] = False

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

    def rates(self) -> list[float]:
        """The peak rates to try."""
        if self.learning_rates is not None:
            return self.learning_rates
        return list(PAPER_RATES) if self.recipe == "paper" else [HYPERRULE_RATE]

    def check(self) -> None:
        """Raise a UserError where the options cannot be."""
        check_positive("fine_tune.learning_rates", self.rates())
        check_positive("fine_tune.batch_size", [self.batch_size])
        check_positive("fine_tune.accumulate", [self.accumulate])
        for name, value in (("steps", self.steps), ("image_size", self.image_size)):
            if value is not None:
                check_positive(f"fine_tune.{name}", [value])
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise UserError(f"fine_tune.warmup_steps is {self.warmup_steps}: give 0 or more")
        check_seeds("fine_tune.seeds", self.seeds)
        decay = self.polyak_decay
        if decay is not None and not 0 < decay < 1:
            raise UserError(f"fine_tune.polyak_decay is {decay}: give one between 0 and 1")
