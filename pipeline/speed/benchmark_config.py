"""Options of `python -m pipeline.benchmark`. Nothing here imports TensorFlow."""

from dataclasses import dataclass, field
from typing import ClassVar

from groundwork.errors import UserError
from pipeline.recipe.run_config import PretrainConfig


@dataclass
class TrainingBenchmarkConfig(PretrainConfig):
    """Measure the training job that the other options, or a recipe, describe. Writes nothing."""

    COMMON: ClassVar[tuple[str, ...]] = (
        "seconds",
        "json",
        "num_classes",
        "data.source",
        "model.variant",
        "data.image_size",
        "batch_size",
        "strategy",
        "precision",
    )

    seconds: float = 10.0
    """Time to measure each thing for, after warming up."""
    num_classes: int | None = None
    """`step` and `graph`: classes of the head, for a recipe whose dataset is not here; null: the
    dataset's."""
    json: str | None = None
    """File to write the numbers to; null: none."""


@dataclass
class ServingBenchmarkConfig:
    """Measure the `serve` signature of an export, on encoded images, one request at a time."""

    model: str
    """Export folder, as python -m pipeline.export writes it."""
    images: list[str] = field(default_factory=list)
    """Image files to send; without any, generated JPEGs of 500×375 pixels and about 100 kB."""
    batches: list[int] = field(default_factory=lambda: [1, 32])
    """Images in a request; each is measured in turn."""
    seconds: float = 10.0
    """Time to measure each batch size for, after warming up."""
    json: str | None = None
    """File to write the numbers to; null: none."""


def check_training_benchmark(config: TrainingBenchmarkConfig, what: str) -> None:
    """Raise a UserError that names the first option out of range."""
    _check_seconds(config.seconds)
    if config.num_classes is not None and what not in ("step", "graph"):
        raise UserError(
            f"num_classes is for `step` and `graph`: `{what}` reads the dataset, which has its own"
        )
    if config.num_classes is not None and config.num_classes < 1:
        raise UserError(f"num_classes is {config.num_classes}: it must be greater than 0")


def check_serving_benchmark(config: ServingBenchmarkConfig) -> None:
    """Raise a UserError that names the first option out of range."""
    _check_seconds(config.seconds)
    if not config.batches or min(config.batches) < 1:
        raise UserError(f"batches is {config.batches}: give one or more numbers greater than 0")


def _check_seconds(seconds: float) -> None:
    if seconds <= 0:
        raise UserError(f"seconds is {seconds}: it must be greater than 0")
