"""The options that all workers of a run must have in common."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

from pipeline.recipe.run_config import PretrainConfig

OF_ONE_WORKER = ("workers", "worker_index", "data.source", "data.data_dir", "data.prepare")
"""A worker may name its peers and its copy of the dataset in its own way."""


def compared_options(config: PretrainConfig) -> dict[str, str]:
    """Options by dotted name, such as optim.peak_lr, with their values as JSON.

    The names depend on the code alone, not on the values: a section that may be null is one value.
    """
    found: dict[str, str] = {}

    def collect(section: Any, prefix: str) -> None:
        for name, kind in get_type_hints(type(section)).items():
            if name == "COMMON" or prefix + name in OF_ONE_WORKER:
                continue
            value = getattr(section, name)
            if dataclasses.is_dataclass(kind):
                collect(value, f"{prefix}{name}.")
            else:
                found[prefix + name] = json.dumps(value, sort_keys=True, default=dataclasses.asdict)

    collect(config, "")
    return found
