"""What a chip's data sheet allows a compiled step at best, and how its memory is shared out.

A step takes at least as long as the chip needs for its arithmetic at the peak of its products, for
what it moves through main memory at the full bandwidth, and for its share of the all-reduce at the
full bandwidth of its links; the longest of the three sets the bound, as if the others were hidden
behind it. Of N chips each must send 2 · (N − 1) / N of the gradient's bytes (Patarasuk and Yuan,
"Bandwidth optimal all-reduce algorithms", 2009).

The FLOPs are those of the program as it is given to the compiler, not only those of its products.
Where a step has microbatches they are those of one of them times their number; the update among
them, a few parts in ten thousand, is counted as often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.readiness.compilers.compile_step import Compiled
from pipeline.readiness.compilers.program import Program
from pipeline.readiness.compilers.targets import Target

Limit = Literal["arithmetic", "memory", "interconnect"]


@dataclass(frozen=True)
class Bounds:
    """Of one train step.

    Attributes:
        flops: of one chip.
        memory_bytes: that one chip moves through its main memory.
        all_reduce_bytes: that the chips sum.
        seconds: at least, by what would limit it.
        mfu: at most: the model's own FLOPs in the peak's.
        images_per_second: at most, of all chips.
    """

    flops: float
    memory_bytes: float
    all_reduce_bytes: float
    seconds: dict[Limit, float]
    mfu: float
    images_per_second: float

    @property
    def limit(self) -> Limit:
        """What sets the bound."""
        return max(self.seconds, key=lambda limit: self.seconds[limit])

    @property
    def step_seconds(self) -> float:
        """A step takes at least these."""
        return self.seconds[self.limit]


@dataclass(frozen=True)
class ChipMemory:
    """Bytes on one chip while a step runs.

    Attributes:
        parts: `weights`, `optimizer`, `average`, `state` and `batch` are exact; `tiles`: what the
            chip's layout adds to them; `temporaries`: activations, gradients and all else that
            lives within a step; `results` that take no argument's place; `code`: the program.
        available: of the chip.
    """

    parts: dict[str, int]
    available: int

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())

    @property
    def left(self) -> int:
        """What stays free; below 0: what is missing."""
        return self.available - self.total


def bounds(program: Program, compiled: Compiled, target: Target, policy: str) -> Bounds:
    """The bounds of `program`'s step on `target`, at a Keras dtype policy."""
    traffic, steps, chips = compiled.traffic, program.steps, target.chips
    flops = compiled.answer["flops"] * program.accumulate
    memory_bytes = traffic.memory_bytes / steps
    summed = traffic.all_reduce_bytes / steps
    peak = target.peak_flops(policy)
    seconds: dict[Limit, float] = {
        "arithmetic": flops / peak,
        "memory": memory_bytes / target.memory_bandwidth,
        "interconnect": 2 * (chips - 1) / chips * summed / target.interconnect_bandwidth,
    }
    longest = max(seconds.values())
    return Bounds(
        flops=flops,
        memory_bytes=memory_bytes,
        all_reduce_bytes=summed,
        seconds=seconds,
        mfu=program.model_flops * program.images / (chips * peak * longest),
        images_per_second=program.images / longest,
    )


def device_hours(step_seconds: float, total_steps: int, chips: int) -> float:
    """Hours times chips that `total_steps` take."""
    return step_seconds * total_steps * chips / 3600


def chip_memory(program: Program, compiled: Compiled, target: Target) -> ChipMemory:
    """How the memory of a chip is shared out."""
    answer = compiled.answer
    return ChipMemory(
        {
            **program.part_bytes,
            "tiles": answer["argument_bytes"] - sum(program.part_bytes.values()),
            "temporaries": answer["temporary_bytes"],
            "results": answer["output_bytes"] - answer["alias_bytes"],
            "code": answer["code_bytes"],
        },
        target.memory_bytes,
    )
