"""A train step, ready for a compiler. Nothing here imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("weights", "optimizer", "average", "state", "batch")


@dataclass(frozen=True)
class Program:
    """What one replica runs.

    Attributes:
        hlo: serialized HloModuleProto.
        replicas: that run it side by side.
        steps: train steps that one call of it does.
        accumulate: microbatches that a step's gradient is summed over.
        images: in a step's global batch.
        model_flops: of a forward and backward pass over one image (`vit_keras.flops`).
        part_bytes: exact bytes of its arguments by part: `weights`, `optimizer` (moments),
            `average` (of the weights), `state` (step, seed, loss scale) and `batch` (images,
            labels and seeds of all its steps).
        gradient_bytes: of the gradient that a step sums over the replicas.
    """

    hlo: bytes
    replicas: int
    steps: int
    accumulate: int
    images: int
    model_flops: int
    part_bytes: dict[str, int]
    gradient_bytes: int

    @property
    def loop_counts(self) -> tuple[int, ...]:
        """How often its loops run, from the outermost inwards."""
        return tuple(count for count in (self.steps, self.accumulate) if count > 1)
