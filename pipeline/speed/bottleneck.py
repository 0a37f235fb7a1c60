"""What limits a training job, and what helps: from the rates of its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.recipe.run_config import PretrainConfig

BALANCED = 1.1
"""Input and step whose rates differ by less than this factor are called balanced."""
UNEXPLAINED = 0.85
"""Together on an accelerator below this share of the slower part: something between them."""


@dataclass(frozen=True)
class Machine:
    """Where the rates were measured."""

    device: str
    """TPU, GPU or CPU."""
    devices: int
    """Devices of that kind in this machine."""
    replicas: int
    """Of the run, on all hosts."""
    cores: int
    """CPU cores that this process may use."""
    xla: bool
    """Whether the step is compiled with XLA."""
    precision: str
    """Keras dtype policy."""


@dataclass(frozen=True)
class Bottleneck:
    """The part that limits the job."""

    part: str
    """input, step, both or transfer."""
    reason: str
    """The numbers that say so."""
    remedies: list[str]
    """What to try, most promising first."""


def find_bottleneck(
    input_rate: float,
    step_rate: float,
    together_rate: float,
    machine: Machine,
    config: PretrainConfig,
) -> Bottleneck:
    """Name what limits the job.

    Args:
        input_rate: images/s of the input alone.
        step_rate: images/s of the step on data that is there already.
        together_rate: images/s of training.
        machine: where this was measured.
        config: of the job.
    """
    rates = (
        f"input {input_rate:,.0f}, step {step_rate:,.0f}, together {together_rate:,.0f} images/s"
    )
    if input_rate * BALANCED < step_rate:
        return Bottleneck("input", rates, _for_input(input_rate, step_rate, machine, config))
    shared = machine.device == "CPU"
    if not shared and together_rate < UNEXPLAINED * min(input_rate, step_rate):
        reason = f"{rates}: each part alone is faster than the two together"
        return Bottleneck("transfer", reason, _for_transfer())
    part = "both" if input_rate < step_rate * BALANCED else "step"
    remedies = _for_step(machine, config)
    if shared:
        rates += "; on a CPU they share the cores"
    if part == "both":
        remedies += _for_input(input_rate, step_rate, machine, config)
    return Bottleneck(part, rates, remedies)


def _for_input(
    input_rate: float, step_rate: float, machine: Machine, config: PretrainConfig
) -> list[str]:
    remedies = []
    if machine.device != "CPU":
        needed = math.ceil(step_rate / (input_rate / machine.cores))
        remedies.append(
            f"more CPU cores on the host: {needed} instead of {machine.cores} would feed the step, "
            "at this rate per core"
        )
    remedies.append(
        "smaller files: beam_jobs.build_dataset --max_size scales images down once, before training"
    )
    if config.data.augmentation.randaugment_layers:
        remedies.append(
            "less augmentation on the host: data.randaugment_layers 0 is faster, and another recipe"
        )
    return remedies


def _for_transfer() -> list[str]:
    return [
        "more CPU cores, so that input and the host's part of the step do not wait for each other",
        "a profile of some steps shows where the device waits",
    ]


def _for_step(machine: Machine, config: PretrainConfig) -> list[str]:
    remedies = []
    if machine.devices > machine.replicas:
        remedies.append(
            f"use all {machine.devices} devices: --strategy mirrored "
            f"(now {machine.replicas} replica{'s' * (machine.replicas > 1)})"
        )
    if machine.precision == "float32" and machine.device != "CPU":
        remedies.append("--precision bfloat16, on GPUs of compute capability 8.0 and later")
    if not machine.xla and machine.device != "TPU":
        remedies.append("--jit_compile true: XLA fuses what lies between the matrix products")
    if config.accumulate > 1:
        remedies.append(
            f"--accumulate {config.accumulate // 2}, if memory allows: larger microbatches fill "
            "the device better"
        )
    remedies.append("more or faster accelerators; or a smaller model or image size")
    return remedies
