"""How much computing a run does, how well it uses its devices, and how long it has held them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import keras

from pipeline.devices.accelerators import Accelerators
from pipeline.training.objectives.patch_sizes import model_at
from vit_keras.flops import model_cost


def training_flops(model: keras.Model, patch_sizes: Sequence[int] | None = None) -> int:
    """FLOPs of a forward and backward pass over one image, the mean over patch sizes, if any."""
    models = [model_at(model, size).model for size in patch_sizes or ()] or [model]
    return sum(model_cost(each).training_flops for each in models) // len(models)


@dataclass
class ComputeMeter:
    """Turns images per second into rates of the hardware; counts device-hours.

    Attributes:
        accelerators: that the run holds.
        flops_per_image: of a forward and backward pass (`vit_keras.flops`), whatever an
            implementation computes besides.
        hours_before: device-hours of earlier starts of the run.
        useful_hours: of them and of those since, the ones spent in steps that count.
    """

    accelerators: Accelerators
    flops_per_image: float
    hours_before: float = 0.0
    useful_hours: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def rates(self, images_per_second: float) -> dict[str, float]:
        """Scalars: images/s and TFLOP/s of one device; MFU where the devices' peak is known.

        MFU is the share of the peak that the model's own FLOPs are (arXiv 2204.02311, appendix B).
        """
        count = self.accelerators.count
        flops = images_per_second * self.flops_per_image
        rates = {
            "speed/images_per_second_per_device": images_per_second / count,
            "speed/tflops_per_device": flops / count / 1e12,
        }
        if self.accelerators.peak_flops:
            rates["speed/mfu"] = flops / self.accelerators.peak_flops
        return rates

    def goodput(self, step_seconds: float) -> float:
        """Share of the time held that went into steps that count, after `step_seconds` more.

        Not among them are steps that a restart did again, starting and compiling, evaluations and
        checkpoints. Time between two starts, and after the last row of one that was killed, is not
        known here.
        """
        self.useful_hours += step_seconds / 3600 * self.accelerators.count
        return self.useful_hours / self.device_hours()

    def device_hours(self) -> float:
        """Hours times devices, of all starts of the run, evaluation and saving included."""
        hours = (time.monotonic() - self._started) / 3600
        return self.hours_before + hours * self.accelerators.count
