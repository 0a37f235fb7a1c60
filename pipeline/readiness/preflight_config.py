"""Options of `python -m pipeline.preflight`. Nothing here imports TensorFlow."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.recipe.run_config import PretrainConfig


@dataclass
class PreflightConfig(PretrainConfig):
    """Check that a run would start, and fit: takes the options of `python -m pipeline.pretrain`,
    changes nothing, and tells what to do where it would not. The options below describe a machine
    that is not this one."""

    COMMON: ClassVar[tuple[str, ...]] = (
        "compile",
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
    compile: str | None = None
    """Compile the step of the run by the compiler of a TPU or GPU that need not be here, and tell
    memory, traffic and the bounds of time: v4, v5e, v5p, v6e, a100, h100, h200, l4 or t4 for one
    chip, or with -CHIPS, such as v5e-16, for a slice or machine of so many chips (also where Google
    Cloud's names count cores). Needs the extra `aot`. null: the estimate alone."""
    compile_seconds: float = 3600.0
    """Seconds that the compiler may take."""
    train_images: int | None = None
    """Images of the training split where the dataset is not here, from which `epochs` gives the
    steps of the run; null: then the chip-hours of such a run are not told."""
