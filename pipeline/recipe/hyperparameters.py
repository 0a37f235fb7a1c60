"""A run's settings for TensorBoard's HParams tab."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipeline.recipe.run_config import PretrainConfig

NOT_COMPARED = (
    "workdir",
    "log",
    "checkpoint",
    "evals",
    "resume",
    "transfer",
    "export",
    "worker_index",
)
"""Settings that do not change what is learned."""


def hyperparameters(config: PretrainConfig) -> dict[str, bool | float | str]:
    """Settings by dotted name, such as optim.peak_lr; those that are null are left out."""
    flat: dict[str, bool | float | str] = {}

    def collect(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                collect(f"{prefix}{name}.", value)
            elif isinstance(value, bool | int | float | str):
                flat[prefix + name] = value
            elif value is not None:
                flat[prefix + name] = "×".join(map(str, value))

    collect("", {name: v for name, v in asdict(config).items() if name not in NOT_COMPARED})
    return flat
