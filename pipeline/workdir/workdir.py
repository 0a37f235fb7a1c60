"""The folder of one run: what lies where, its archived configuration, its lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from groundwork import command_line, storage
from groundwork.errors import UserError
from pipeline.recipe.run_config import PretrainConfig


class Workdir:
    """Paths of a run; local, or remote such as gs://bucket/run."""

    def __init__(self, path: str):
        self.path = path
        self.checkpoints = posixpath.join(path, "checkpoints")
        self.best_checkpoint = posixpath.join(path, "best_checkpoint")
        self.tensorboard = posixpath.join(path, "tensorboard")
        self.metrics = posixpath.join(path, "metrics.jsonl")
        self.class_counts = posixpath.join(path, "class_counts.json")
        self.classes = posixpath.join(path, "classes.json")
        self.starts = posixpath.join(path, "run.json")
        self.config = posixpath.join(path, "config.yaml")
        self.export = posixpath.join(path, "export")
        self.transfer = posixpath.join(path, "transfer")

    def archive(self, config: PretrainConfig, class_names: Sequence[str]) -> list[str]:
        """Write what the run is made of; tells the lines of `config` that it had otherwise."""
        text = command_line.to_yaml(config)
        before = _read(self.config) or text
        storage.write_text(self.config, text)
        storage.write_text(
            self.classes, json.dumps(list(class_names), ensure_ascii=False, indent=0)
        )
        return [line for line in text.splitlines() if line not in before.splitlines()]

    def record_start(self, record: dict) -> None:
        """Add what a start of the run was made of; starts after its step were taken back."""
        starts = [s for s in self.load_starts() if s["start_step"] < record["start_step"]]
        storage.write_text(self.starts, json.dumps([*starts, record], ensure_ascii=False, indent=1))

    def load_starts(self) -> list[dict]:
        """What the starts of the run were made of, see `run_record`; empty: not recorded."""
        return json.loads(_read(self.starts) or "[]")

    def load_metrics(self) -> list[dict[str, float]]:
        """Rows of the log, in order; a line that a kill cut short is left out."""
        rows = []
        for line in (_read(self.metrics) or "").splitlines():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return rows

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
        return json.loads(self._load(self.classes))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process, where it is local.

        Raises:
            UserError: another process holds it.
        """
        if "://" in self.path:
            yield
            return
        Path(self.path).mkdir(parents=True, exist_ok=True)
        with (Path(self.path) / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"another run is writing to {self.path}: wait for it, or choose another workdir"
                ) from error
            yield

    def _load(self, path: str) -> str:
        text = _read(path)
        if text is None:
            raise UserError(
                f"{self.path} is not the workdir of a run (no {posixpath.basename(path)} in it): "
                f"train one with python -m pipeline.pretrain --workdir {self.path}"
            )
        return text


def _read(path: str) -> str | None:
    return storage.read_text(path) if storage.exists(path) else None
