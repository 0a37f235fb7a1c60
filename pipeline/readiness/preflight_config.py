"""Options of `python -m pipeline.preflight`. Nothing here imports TensorFlow."""

from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.recipe.run_config import PretrainConfig


@dataclass
class PreflightConfig(PretrainConfig):
    """Check that a run would start, and fit: takes the options of `python -m pipeline.pretrain`,
    changes nothing, and tells what to do where it would not. The options below describe a machine
    that is not this one."""

    POSITIONAL: ClassVar[str] = "recipes"
    COMMON: ClassVar[tuple[str, ...]] = (
        "recipes",
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

    recipes: list[str] = field(default_factory=list)
    """With `compile`: files and folders of recipes to put side by side, each compiled with the
    other options on top."""
    replicas: int | None = None
    """Devices that the run will have; null: this machine's."""
    device_memory: float | None = None
    """Memory of one device in GB; null: that of this machine's devices."""
    compile: str | None = None
    """Compile the step of the run by the compiler of a TPU or GPU that need not be here, and tell
    memory, traffic and the bounds of time: v3, v4, v5e, v5p, v6e, a100, h100, h200, l4 or t4 for
    one chip, or with -CHIPS, such as v5e-16, for a slice or machine of so many chips (of v3: cores;
    of others also where Google Cloud's names count cores). `all`: each of `recipes`, or of those
    that are shipped, for the hardware that its first lines name. Needs the extra `aot`. null: the
    estimate alone."""
    compile_seconds: float = 3600.0
    """Seconds that the compiler may take for a recipe; 0: only what it compiled before is told."""
    train_images: int | None = None
    """Images of the training split where the dataset is not here, from which `epochs` gives the
    steps of the run; null: then the chip-hours of such a run are not told."""
