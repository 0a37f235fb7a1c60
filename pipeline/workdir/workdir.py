"""The folder of one run: what lies where, its archived configuration, its lock."""

from __future__ import annotations

import contextlib
import json
import posixpath
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundwork import command_line, locks, storage
from groundwork.errors import UserError
from groundwork.filesystems import check_scheme
from pipeline.process.wildcards import refuse_wildcards
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.metrics_log import class_scores_path, read_rows
from pipeline.training.state.checkpoint_files import remove_leftovers

WRITTEN = ("gs://", "s3://")
"""URLs that a run can write to."""
UNFINISHED = (storage.TEMPORARY_PREFIX, ".export-", ".model-", ".unfinished-")
"""Beginnings of the names of what is renamed when it is whole: files, exports, cached features."""


class Workdir:
    """Paths of a run; local, or in a bucket such as gs://bucket/run."""

    def __init__(self, path: str):
        """Name the paths.

        Raises:
            UserError: a path that TensorFlow would take for a pattern, or a URL of no bucket.
        """
        if storage.is_remote(path):
            check_scheme(path)
            if not path.startswith(WRITTEN):
                raise UserError(
                    f"workdir {path}: only buckets are written to: give a local path, "
                    "gs://BUCKET/RUN or s3://BUCKET/RUN"
                )
            path = path.rstrip("/")
        refuse_wildcards(path, "workdir")
        self.path = path
        self.checkpoints = posixpath.join(path, "checkpoints")
        self.best_checkpoint = posixpath.join(path, "best_checkpoint")
        self.tensorboard = posixpath.join(path, "tensorboard")
        self.metrics = posixpath.join(path, "metrics.jsonl")
        self.class_counts = posixpath.join(path, "class_counts.json")
        self.classes = posixpath.join(path, "classes.json")
        self.starts = posixpath.join(path, "run.json")
        self.config = posixpath.join(path, "config.yaml")
        self.model = posixpath.join(path, "model.json")
        self.export = posixpath.join(path, "export")
        self.transfer = posixpath.join(path, "transfer")

    def archive(
        self,
        config: PretrainConfig,
        class_names: Sequence[str],
        architecture: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what the run is made of; `architecture` where it is that of a named model."""
        if architecture is not None:
            storage.write_text(self.model, json.dumps(architecture, indent=1))
        storage.write_text(self.config, command_line.to_yaml(config))
        storage.write_text(
            self.classes, json.dumps(list(class_names), ensure_ascii=False, indent=0)
        )

    def changes(self, config: PretrainConfig) -> list[str]:
        """The lines of `config` that the archived configuration has otherwise."""
        text = command_line.to_yaml(config)
        before = (_read(self.config) or text).splitlines()
        return [line.strip() for line in text.splitlines() if line not in before]

    def record_start(self, record: dict[str, Any]) -> None:
        """Add what a start of the run was made of; starts after its step were taken back."""
        starts = [s for s in self.load_starts() if s["start_step"] < record["start_step"]]
        storage.write_text(self.starts, json.dumps([*starts, record], ensure_ascii=False, indent=1))

    def load_starts(self) -> list[dict[str, Any]]:
        """What the starts of the run were made of, see `run_record`; empty: not recorded."""
        starts: list[dict[str, Any]] = _parsed(self.starts, _read(self.starts) or "[]", list)
        return starts

    def load_metrics(self) -> list[dict[str, float]]:
        """Rows of the log, in order; a line that a kill cut short is left out."""
        return read_rows(self.metrics)

    def load_thresholds(self, step: int, num_classes: int) -> tuple[float, ...]:
        """For each class the probability of the best F1 in the evaluation at a step; 0.5 for a
        class that had no image there, and for all where there was none."""
        path = class_scores_path(self.metrics, step)
        rows = _parsed(path, _read(path) or "[]", list) or [{"threshold": None}] * num_classes
        return tuple(0.5 if row["threshold"] is None else row["threshold"] for row in rows)

    def load_config(self) -> PretrainConfig:
        """The configuration the run was made with.

        Raises:
            UserError: this is not the folder of a run.
        """
        self._load(self.config)
        return command_line.parse(
            PretrainConfig, ["--config", self.config], prog="python -m pipeline.pretrain"
        )

    def load_class_names(self) -> list[str]:
        """Names of the classes, in the order of the logits; raises as `load_config`."""
        names: list[str] = _parsed(self.classes, self._load(self.classes), list)
        return names

    def load_architecture(self) -> dict[str, Any] | None:
        """That of the named model that the run has the architecture of; None: of a variant."""
        text = _read(self.model)
        architecture: dict[str, Any] | None = _parsed(self.model, text, dict) if text else None
        return architecture

    def has_class_names(self) -> bool:
        """Whether this folder is that of a run which has begun."""
        return storage.exists(self.classes)

    def remove_leftovers(self) -> list[str]:
        """Remove what killed starts of the run left unfinished; tells the names.

        Only for who holds the lock: unfinished may also mean that another process is at it.
        """
        removed = []
        for folder in (self.checkpoints, self.best_checkpoint):
            removed += remove_leftovers(folder)
        if storage.is_remote(self.path):
            return removed
        # The export that was there is put aside for a moment, while the new one takes its place.
        for aside in [path for path in _unfinished(Path(self.path)) if path.name.endswith("-old")]:
            if not Path(self.export).exists():
                aside.rename(self.export)
        for path in _unfinished(Path(self.path)):
            removed.append(path.name)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return removed

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for this process; raises as `groundwork.locks.hold`."""
        return locks.hold(
            self.path,
            f"another run is writing to {self.path}: wait for it, or choose another workdir",
        )

    def _load(self, path: str) -> str:
        text = _read(path)
        if text is None:
            raise UserError(
                f"{self.path} is not the workdir of a run (no {posixpath.basename(path)} in it): "
                f"train one with python -m pipeline.pretrain --workdir {self.path}"
            )
        return text


def _unfinished(folder: Path) -> list[Path]:
    """What was being written when a process was killed, in `folder` and below."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(UNFINISHED):
            found.append(path)
        elif path.is_dir() and not path.is_symlink():
            found += _unfinished(path)
    return found


def _read(path: str) -> str | None:
    try:
        return storage.read_text(path) if storage.exists(path) else None
    except UnicodeDecodeError as error:
        raise _damaged(path) from error


def _parsed(path: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(value, kind):
        raise _damaged(path)
    return value


def _damaged(path: str) -> UserError:
    return UserError(f"{path} is damaged: restore it from a backup, or choose another workdir")
