"""A run's step on a target: compiled, held against the chip, and told as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.devices.strategy import policy_on
from pipeline.readiness.compilers.bounds import (
    Bounds,
    ChipMemory,
    bounds,
    chip_memory,
    device_hours,
)
from pipeline.readiness.compilers.compile_step import (
    TIME_LIMIT,
    Compiled,
    TooLarge,
    compile_program,
)
from pipeline.readiness.compilers.program import Program
from pipeline.readiness.compilers.targets import Target
from pipeline.recipe.run_config import PretrainConfig


@dataclass(frozen=True)
class StepReport:
    """A step that was compiled.

    Attributes:
        target: chips that it was compiled for.
        policy: Keras dtype policy of the model.
        program: what was compiled.
        compiled: what the compiler says.
        bounds: of time, by the data sheet.
        memory: of a chip.
        total_steps: of the run; None: not known.
    """

    target: Target
    policy: str
    program: Program
    compiled: Compiled
    bounds: Bounds
    memory: ChipMemory
    total_steps: int | None

    def __str__(self) -> str:
        """The table for the user."""
        memory, step, chips = self.memory, self.bounds, self.target.chips
        parts = ", ".join(f"{name} {_size(size)}" for name, size in memory.parts.items() if size)
        verdict = "fits" if memory.left >= 0 else "does not fit"
        free = f"{_size(abs(memory.left))} {'free' if memory.left >= 0 else 'missing'}"
        times = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in step.seconds.items() if s)
        lines = [
            f"step      {self.program.images} images on {chips} chip{'s' * (chips > 1)} of "
            f"{self.target.name} ({self.target.source}), {self.policy}",
            f"memory    {verdict}: {_size(memory.total)} of {_size(memory.available)} a chip, "
            f"{free}: {parts}",
            f"work      {step.flops / 1e9:.4g} GFLOP and {_size(step.memory_bytes)} through main "
            f"memory a chip and step; {_size(self._accessed)} of operands and results",
        ]
        if step.all_reduce_bytes:
            lines.append(f"all-reduce  {_size(step.all_reduce_bytes)} a step")
        lines.append(
            f"bound     {times}: {step.limit} allows a step in {1e3 * step.step_seconds:.2f} ms, "
            f"{step.images_per_second:.0f} images/s, MFU {step.mfu:.1%}"
        )
        if self.total_steps is not None:
            hours = device_hours(step.step_seconds, self.total_steps, chips)
            lines.append(
                f"run       {self.total_steps} steps take {hours:.4g} chip-hours at that bound"
            )
        source = "found in the cache" if self.compiled.from_cache else "compiled"
        seconds = self.compiled.answer["compile_seconds"]
        lines.append(f"compiler  {source}, {seconds:.1f} s")
        return "\n".join(lines)

    @property
    def _accessed(self) -> float:
        return self.compiled.traffic.bytes_accessed / self.program.steps


def report_step(
    config: PretrainConfig,
    target: Target,
    *,
    num_classes: int,
    total_steps: int | None = None,
    time_limit: float = TIME_LIMIT,
) -> StepReport:
    """Compile the step of a run for a target.

    Args:
        config: of the run.
        target: whose chips share the global batch, each as a replica.
        num_classes: outputs of the head.
        total_steps: of the run; None: not known, so its chip-hours are not told.
        time_limit: seconds that the compiler may take.

    Raises:
        UserError: the batch cannot be shared out, the target does not have the precision, or the
            compiler is missing.
        JobError: as `compile_program`.
    """
    from pipeline.readiness.compilers.lower import check_batch, lower_step

    check_batch(config, target.chips)
    policy = policy_of(config, target)
    program = lower_step(
        config,
        num_classes=num_classes,
        policy=policy,
        replicas=target.chips,
    )
    compiled = compile_program(
        program.hlo,
        target,
        replicas=target.chips,
        loop_counts=program.loop_counts,
        time_limit=time_limit,
    )
    return StepReport(
        target=target,
        policy=policy,
        program=program,
        compiled=compiled,
        bounds=bounds(program, compiled, target, policy),
        memory=chip_memory(program, compiled, target),
        total_steps=total_steps,
    )


def accumulation_that_fits(
    config: PretrainConfig, target: Target, *, num_classes: int, time_limit: float = TIME_LIMIT
) -> int | None:
    """The least `accumulate`, in doublings, at which the step fits; None: there is none.

    Each doubling is compiled. For the arguments of `report_step`, and its errors.
    """
    least = 2 if config.data.mixes_images else 1
    share = config.batch_size // target.chips
    count = 2 * config.accumulate
    while share % count == 0 and share // count % least == 0:
        try:
            report = report_step(
                replace(config, accumulate=count),
                target,
                num_classes=num_classes,
                time_limit=time_limit,
            )
        except TooLarge:
            pass
        else:
            if report.memory.left >= 0:
                return count
            if sum(report.program.part_bytes.values()) > report.memory.available:
                return None  # what does not depend on the microbatch is too much
        count *= 2
    return None


def policy_of(config: PretrainConfig, target: Target) -> str:
    """Keras dtype policy of the run on the target.

    Raises:
        UserError: the target does not have the precision.
    """
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if target.has_bfloat16 else "float32"
    return policy_on(target.device, precision)


def _size(count: float) -> str:
    """Bytes in GB (1e9), MB or kB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count / 1e3:.4g} kB"
