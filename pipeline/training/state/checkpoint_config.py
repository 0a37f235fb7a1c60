"""Options of checkpoints."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class CheckpointConfig:
    """Saving and resuming."""

    every_steps: int = 1000
    """Steps between checkpoints."""
    keep: int = 3
    """Checkpoints kept."""
    keep_best: Literal["eval/accuracy", "eval/mean_average_precision", "eval/loss"] | None = None
    """Keep the checkpoint of the best evaluation too: highest accuracy or, of multi_label, mean
    average precision; or lowest loss. It lies in WORKDIR/best_checkpoint, and `python -m
    pipeline.export --checkpoint best` exports it; the run's own export is of the last step. null:
    none is kept."""
