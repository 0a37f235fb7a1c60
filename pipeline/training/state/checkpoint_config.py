"""Options of checkpoints."""

from dataclasses import dataclass


@dataclass
class CheckpointConfig:
    """Saving and resuming."""

    every_steps: int = 1000
    """Steps between checkpoints."""
    keep: int = 3
    """Checkpoints kept."""
    keep_best: str | None = None
    """Keep the checkpoint of the best evaluation too, by a scalar of one: eval/accuracy or, of
    `evals`, NAME/accuracy (the highest), eval/loss or NAME/loss (the lowest). It lies in
    WORKDIR/best_checkpoint, and `python -m pipeline.export --checkpoint best` exports it; the run's
    own export is of the last step. null: none is kept."""
