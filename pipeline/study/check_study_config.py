"""Settings of a compute study that cannot be, found before anything is started."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from groundwork.errors import UserError
from pipeline.study.study_config import Member, StudyConfig

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
GIVEN_BY_THE_STUDY = {"base": ("workdir", "export", "transfer"), "transfer": ("model", "output")}


def check_study_config(config: StudyConfig) -> None:
    """Check what types cannot say.

    Raises:
        UserError: names the option and what it takes.
    """
    if not config.members or not config.downstream:
        raise UserError("members and downstream need at least one entry each")
    for option, names in (
        ("members", [member.name for member in config.members]),
        ("downstream", [dataset.name for dataset in config.downstream]),
    ):
        _check_names(option, names)
    for option, keys in GIVEN_BY_THE_STUDY.items():
        given = [key for key in keys if key in getattr(config, option)]
        if given:
            raise UserError(f"{option}.{given[0]} is set by the study: leave it out")
    for dataset in config.downstream:
        if not dataset.data.get("source"):
            raise UserError(f"downstream {dataset.name}: data.source is missing")
    known = [member.name for member in config.members]
    for name in config.retrain:
        if name not in known:
            raise UserError(f"retrain: there is no member {name}; there are {', '.join(known)}")
    if not all(config.score.partition("/")):
        raise UserError(f"score is {config.score}: give PROTOCOL/SETTING, such as few_shot/5")
    _check_assumptions(config)
    chosen_members(config)


def chosen_members(config: StudyConfig) -> list[Member]:
    """The members that this process takes: all, or those that `member` i/n names.

    Raises:
        UserError: `member` is not i/n with 0 ≤ i < n.
    """
    if config.member is None:
        return config.members
    match = re.fullmatch(r"(\d+)/(\d+)", config.member)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"member is {config.member}: give i/n with i from 0 to n - 1, such as 0/2")
    return config.members[int(match[1]) :: int(match[2])]


def _check_names(option: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{option}: the name {name} is there {count} times; names are unique")
        if not NAME.fullmatch(name):
            raise UserError(
                f"{option}: {name!r} cannot name a folder: use letters, digits, . _ + -"
            )


def _check_assumptions(config: StudyConfig) -> None:
    assumed = config.assumptions
    for name in ("num_classes", "train_images", "peak_tflops", "utilization"):
        value = getattr(assumed, name)
        if value <= 0:
            raise UserError(f"assumptions.{name} is {value}: it must be greater than 0")
    if assumed.utilization > 1:
        raise UserError(
            f"assumptions.utilization is {assumed.utilization}: give a share, at most 1"
        )
