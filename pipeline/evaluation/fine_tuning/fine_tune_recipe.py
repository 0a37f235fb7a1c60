"""What a fine-tuning run does, derived from the configuration and the size of the dataset.

Sources: ViT paper, Table 4 and section B.1.1 (arXiv 2010.11929); BiT-HyperRule (arXiv 1912.11370,
section 3.3, with the resolutions and schedules of google-research/big_transfer).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import tensorflow as tf

from groundwork.errors import UserError
from pipeline.evaluation.fine_tuning.fine_tune_config import FineTuneConfig

Size = TypeVar("Size")

PAPER_SIDE = 384
PAPER_WARMUP = 500
SMALL_DATASET, LARGE_DATASET = 20_000, 500_000
SMALL_IMAGE_AREA = 96 * 96
HYPERRULE_STEPS = {
    "small": (100, 200, 300, 400, 500),
    "medium": (500, 3000, 6000, 9000, 10_000),
    "large": (500, 6000, 12_000, 18_000, 20_000),
}
"""End of warm-up, the three steps after which the rate is divided by 10, and the last step."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one kind of run, common to all rates and seeds."""

    steps: int
    batch_size: int
    boundaries: tuple[int, ...]
    """End of warm-up; then, with several, the steps after which the rate is divided by 10."""
    crop_size: tuple[int, int]
    """Height and width that the model sees."""
    resize_size: tuple[int, int] | None
    """Size that training images have before a random crop; None: crops of random area and aspect
    ("inception crop"), as in the official ViT code."""
    mixup: float
    """Both parameters of MixUp's Beta distribution; 0: no MixUp."""
    clip_norm: float | None
    """Largest global norm of the gradient."""
    momentum: float = 0.9

    def learning_rate(self, step: tf.Tensor, peak: float | tf.Tensor) -> tf.Tensor:
        """Rate, float32 scalar, of the update after `step` finished ones."""
        step = tf.cast(step, tf.float32)
        warmup, *drops = self.boundaries
        if drops:
            passed = tf.reduce_sum(tf.cast(step > tf.constant(drops, tf.float32), tf.float32))
            rate = peak * 10.0**-passed
        else:
            done = (step - warmup) / max(1, self.steps - warmup)
            rate = peak * 0.5 * (1.0 + tf.cos(3.141592653589793 * tf.clip_by_value(done, 0.0, 1.0)))
        return rate * tf.minimum(1.0, step / max(1, warmup))


def make_recipe(
    config: FineTuneConfig,
    num_examples: int,
    image_area: int,
    *,
    smallest_split: int | None = None,
    replicas: int = 1,
) -> Recipe:
    """Derive a run from the dataset.

    Args:
        config: settings; null ones are filled in.
        num_examples: training images of the final runs.
        image_area: pixels of a typical image, height times width.
        smallest_split: training images of the run that has the fewest; None: `num_examples`.
        replicas: that share a batch.

    Raises:
        UserError: a batch cannot be shared evenly, or the warm-up is too long.
    """
    if config.recipe == "paper":
        recipe = _paper(config, num_examples)
    else:
        recipe = _hyperrule(config, num_examples, image_area)
    return replace(
        recipe,
        batch_size=_batch_size(
            config, smallest_split or num_examples, replicas, mixes=recipe.mixup > 0
        ),
    )


def _batch_size(config: FineTuneConfig, num_examples: int, replicas: int, *, mixes: bool) -> int:
    """The batch that is asked for or, of fewer images, all that can be shared evenly."""
    parts = replicas * config.accumulate * (2 if mixes else 1)
    shares = (
        f"{replicas} replicas × accumulate {config.accumulate}{' × 2 for MixUp' if mixes else ''}"
    )
    if num_examples < config.batch_size:
        if num_examples < parts:
            raise UserError(
                f"fine_tune needs an image for each of {shares}; there are {num_examples} to train "
                "on: choose a smaller fine_tune.accumulate or fewer replicas"
            )
        return num_examples // parts * parts
    if config.batch_size % parts:
        raise UserError(
            f"fine_tune.batch_size {config.batch_size} is not divisible by {shares}: choose a "
            f"multiple of {parts}"
        )
    return config.batch_size


def _paper(config: FineTuneConfig, num_examples: int) -> Recipe:
    steps = config.steps or _by_size(num_examples, 500, 10_000, 20_000, large=1_000_000)
    warmup = min(PAPER_WARMUP, steps // 10) if config.warmup_steps is None else config.warmup_steps
    side = config.image_size or PAPER_SIDE
    return Recipe(
        steps=steps,
        batch_size=config.batch_size,
        boundaries=(warmup,),
        crop_size=(side, side),
        resize_size=None if config.random_crop else (side, side),
        mixup=0.0,
        clip_norm=1.0,
    )


def _hyperrule(config: FineTuneConfig, num_examples: int, image_area: int) -> Recipe:
    *boundaries, steps = HYPERRULE_STEPS[_by_size(num_examples, "small", "medium", "large")]
    if config.steps:  # the same shape in fewer or more steps
        boundaries = [round(boundary * config.steps / steps) for boundary in boundaries]
        steps = config.steps
    if config.warmup_steps is not None:
        boundaries[0] = config.warmup_steps
    crop = 128 if image_area < SMALL_IMAGE_AREA else 480
    resize = 160 if image_area < SMALL_IMAGE_AREA else 512
    if config.image_size:
        resize = round(resize * config.image_size / crop)
        crop = config.image_size
    if not config.random_crop:
        resize = crop
    if boundaries[0] > boundaries[1]:
        raise UserError(
            f"fine_tune.warmup_steps {boundaries[0]} is more than the {boundaries[1]} steps after "
            "which the rate first falls: choose fewer, or more fine_tune.steps"
        )
    return Recipe(
        steps=steps,
        batch_size=config.batch_size,
        boundaries=tuple(boundaries),
        crop_size=(crop, crop),
        resize_size=(resize, resize),
        mixup=0.0 if num_examples < SMALL_DATASET else 0.1,
        clip_norm=None,
    )


def _by_size(
    num_examples: int, small: Size, medium: Size, large_value: Size, large: int = LARGE_DATASET
) -> Size:
    if num_examples < SMALL_DATASET:
        return small
    return medium if num_examples < large else large_value
