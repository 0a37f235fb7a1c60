"""What a fine-tuning run does, derived from the configuration and the size of the dataset.

Sources: ViT paper, Table 4 and section B.1.1 (arXiv 2010.11929); BiT-HyperRule (arXiv 1912.11370,
section 3.3, with the resolutions and schedules of google-research/big_transfer).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import tensorflow as tf

from pipeline.evaluation.config import FineTuneConfig

PAPER_RATES = (0.001, 0.003, 0.01, 0.03)
PAPER_SIDE = 384
PAPER_WARMUP = 500
HYPERRULE_RATE = 0.003
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

    def learning_rate(self, step: tf.Tensor, peak: float) -> tf.Tensor:
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


def learning_rates(config: FineTuneConfig) -> list[float]:
    """The peak rates to try."""
    if config.learning_rates is not None:
        return config.learning_rates
    return list(PAPER_RATES) if config.recipe == "paper" else [HYPERRULE_RATE]


def make_recipe(config: FineTuneConfig, num_examples: int, image_area: int) -> Recipe:
    """Derive a run from the dataset.

    Args:
        config: settings; null ones are filled in.
        num_examples: training images.
        image_area: pixels of a typical image, height times width.
    """
    if config.recipe == "paper":
        return _paper(config, num_examples)
    return _hyperrule(config, num_examples, image_area)


def _paper(config: FineTuneConfig, num_examples: int) -> Recipe:
    steps = config.steps or _by_size(num_examples, 500, 10_000, 20_000, large=1_000_000)
    warmup = min(PAPER_WARMUP, steps // 10) if config.warmup_steps is None else config.warmup_steps
    side = config.image_size or PAPER_SIDE
    return Recipe(
        steps=steps,
        batch_size=min(config.batch_size, num_examples),
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
    assert all(a <= b for a, b in pairwise(boundaries))
    return Recipe(
        steps=steps,
        batch_size=min(config.batch_size, num_examples),
        boundaries=tuple(boundaries),
        crop_size=(crop, crop),
        resize_size=(resize, resize),
        mixup=0.0 if num_examples < SMALL_DATASET else 0.1,
        clip_norm=None,
    )


def _by_size(num_examples, small, medium, large_value, large: int = LARGE_DATASET):
    if num_examples < SMALL_DATASET:
        return small
    return medium if num_examples < large else large_value
