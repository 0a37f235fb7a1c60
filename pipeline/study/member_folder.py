"""The folder of one member: its recipe, its run, its transfer reports, what is finished."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

import yaml

from groundwork import command_line, locks, storage
from groundwork.errors import UserError
from groundwork.recipes import merge
from pipeline.evaluation.reports.transfer_result import read_result
from pipeline.evaluation.transfer.check_transfer_config import check_transfer_config
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import PretrainConfig
from pipeline.study.study_config import Downstream, Member, StudyConfig

Config = TypeVar("Config")

WITHOUT_EFFECT = ("workdir", "checkpoint", "log", "strategy", "tpu", "eval_batch_size")
"""Fields of a recipe that may change without another model coming out."""


class MemberFolder:
    """OUTPUT/members/NAME. What is in it tells how far the member is."""

    def __init__(self, config: StudyConfig, member: Member):
        self.member = member
        self.path = Path(config.output) / "members" / member.name
        self.workdir = self.path / "run"
        self.recipe = self.path / "recipe.yaml"
        self._trained = self.path / "trained.json"

    @property
    def is_trained(self) -> bool:
        """Whether its training and export are finished."""
        return self._trained.exists()

    @property
    def training_data(self) -> dict[str, Any]:
        """What it was trained on, as `mark_trained` was told."""
        found: dict[str, Any] = json.loads(self._trained.read_text(encoding="utf-8"))
        return found

    def mark_trained(self, training_data: dict[str, Any]) -> None:
        """Note that the training is finished."""
        storage.write_text(str(self._trained), json.dumps(training_data) + "\n")

    def report(self, dataset: Downstream) -> Path:
        """Folder of the transfer report on `dataset`."""
        return self.path / "transfer" / dataset.name

    def transfer_options(self, dataset: Downstream) -> Path:
        """YAML file of the options that `report` was, or is to be, made with."""
        return self.path / "transfer" / f"{dataset.name}.yaml"

    def is_evaluated(self, dataset: Downstream) -> bool:
        """Whether the transfer report on `dataset` is finished, and of this version."""
        try:
            read_result(str(self.report(dataset)))
        except UserError:
            return False
        return True

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for this process; raises as `groundwork.locks.hold`."""
        return locks.hold(str(self.path), f"member {self.member.name} is run by another process")


def pretrain_config(config: StudyConfig, member: Member) -> PretrainConfig:
    """The whole recipe of a member: `base`, then its own `recipe`.

    Raises:
        UserError: an option that `python -m pipeline.pretrain` does not take.
    """
    folder = MemberFolder(config, member)
    merged = merge(config.base, member.recipe)
    merged |= {"workdir": str(folder.workdir), "export": True, "transfer": None}
    try:
        recipe = _parse(PretrainConfig, merged)
        check_run_config(recipe)
    except UserError as error:
        raise UserError(f"member {member.name}: {error}") from error
    return recipe


def transfer_config(config: StudyConfig, member: Member, dataset: Downstream) -> TransferConfig:
    """The transfer evaluation of a member on a dataset.

    Raises:
        UserError: an option that `python -m pipeline.transfer` does not take.
    """
    folder = MemberFolder(config, member)
    options = merge(config.transfer, {"data": dataset.data})
    options |= {
        "model": str(folder.workdir / "export"),
        "output": str(folder.report(dataset)),
    }
    try:
        transfer = _parse(TransferConfig, options)
        check_transfer_config(transfer)
    except UserError as error:
        raise UserError(f"downstream {dataset.name}: {error}") from error
    return transfer


def check_recipe_kept(folder: MemberFolder, recipe: PretrainConfig) -> None:
    """Refuse to go on with a member that was begun with another recipe.

    Raises:
        UserError: names the options that differ.
    """
    if not folder.recipe.exists():
        return
    begun = command_line.parse(
        PretrainConfig, ["--config", str(folder.recipe)], prog=str(folder.recipe)
    )
    differences = _differences(_as_dict(begun), _as_dict(recipe))
    if differences:
        name = folder.member.name
        raise UserError(
            f"member {name} was begun with another recipe ({'; '.join(differences)}): give the "
            f"new one another name, or train this one anew with --retrain '[{name}]'"
        )


def _parse(config_class: type[Config], options: dict[str, Any]) -> Config:
    """`options`, checked and completed as those of a command are."""
    return command_line.parse(
        config_class, ["--config", yaml.safe_dump(options)], prog="the recipe"
    )


def _as_dict(recipe: PretrainConfig) -> dict[str, Any]:
    fields = json.loads(json.dumps(dataclasses.asdict(recipe)))  # tuples and lists alike
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT}


def _differences(before: Any, after: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in sorted(before.keys() | after.keys())
            for line in _differences(
                before.get(key), after.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if before == after else [f"{name}: {before} before, now {after}"]
