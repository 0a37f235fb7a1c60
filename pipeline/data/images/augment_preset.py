"""The seven strengths of augmentation of AugReg (arXiv 2106.10270, section 3.2), and limits."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_MAXIMUM = 10
"""Level at which the operations are as strong as their authors meant; AugReg goes on to 20."""
BLUR_PIXELS = 13
"""Pixels in a row that a blur of 3-Augment reads: no side of an image may be shorter."""


@dataclass(frozen=True)
class AugmentPreset:
    """One strength.

    Attributes:
        randaugment_layers: operations that RandAugment applies to each image, one after another.
        randaugment_magnitude: their common level; 10 is the usual maximum.
        mixup_alpha: parameter of MixUp's Beta distribution; 0: no MixUp.
    """

    randaugment_layers: int
    randaugment_magnitude: int
    mixup_alpha: float


AUGMENT_PRESETS = {
    "none": AugmentPreset(0, 0, 0.0),
    "light1": AugmentPreset(2, 0, 0.0),
    "light2": AugmentPreset(2, 10, 0.2),
    "medium1": AugmentPreset(2, 15, 0.2),
    "medium2": AugmentPreset(2, 15, 0.5),
    "strong1": AugmentPreset(2, 20, 0.5),
    "strong2": AugmentPreset(2, 20, 0.8),
}
"""light1 is not nothing: at level 0 Invert, Equalize, Color and others still change the image."""
