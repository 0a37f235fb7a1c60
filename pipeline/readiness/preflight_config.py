"""Options of `python -m pipeline.preflight`. Nothing here imports TensorFlow."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.recipe.run_config import PretrainConfig


@dataclass
class PreflightConfig(PretrainConfig):
    """Check that a run would start, and fit: takes the options of `python -m pipeline.pretrain`,
    changes nothing, and tells what to do where it would not. Two options more describe a machine
    that is not this one."""

    COMMON: ClassVar[tuple[str, ...]] = (
        "replicas",
        "device_memory",
        "data.source",
        "workdir",
        "model.variant",
        "data.image_size",
        "batch_size",
        "accumulate",
        "strategy",
        "precision",
    )

    replicas: int | None = None
    """Devices that the run will have; null: those of this machine."""
    device_memory: float | None = None
    """Memory of one device in GB; null: that of this machine's devices."""
