"""Run what is missing of a study, one member after the other, and draw what is finished."""

from __future__ import annotations

from pathlib import Path

import yaml

from groundwork import command_line, storage
from groundwork.errors import UserError
from groundwork.locks import FolderHeld
from pipeline.data.dataset.prepare_source import KILLED, prepare_source
from pipeline.data.dataset.source import open_source
from pipeline.evaluation.reports.transfer_result import FILE_NAME
from pipeline.process.child_process import run_module
from pipeline.recipe.run_config import PretrainConfig
from pipeline.study.check_study_config import chosen_members
from pipeline.study.member_folder import (
    MemberFolder,
    check_recipe_kept,
    pretrain_config,
    transfer_config,
)
from pipeline.study.report import write_report
from pipeline.study.results import read_results
from pipeline.study.study_config import Downstream, Member, StudyConfig


def run_study(config: StudyConfig) -> int:
    """Train and evaluate the chosen members; returns the exit status.

    Training and evaluation are child processes, which have the accelerator for themselves.

    Returns:
        0 when all chosen members are finished, 1 when one failed.

    Raises:
        UserError: bad input; a member that was begun with another recipe.
    """
    members = chosen_members(config)
    storage.make_local_folder(config.output, "--output")
    for name in config.retrain:
        _retrain(config, name)
    recipes = {member.name: pretrain_config(config, member) for member in config.members}
    for member in config.members:
        check_recipe_kept(MemberFolder(config, member), recipes[member.name])
        for dataset in config.downstream:
            transfer_config(config, member, dataset)
    absent = _absent_downstream(config)
    failed = [
        member.name
        for number, member in enumerate(members, 1)
        if not _run_member(
            config, member, recipes[member.name], f"{number}/{len(members)}", list(absent)
        )
    ]
    results = read_results(config)
    if results:
        print(f"\n{write_report(config, results, absent)}\nreport    {config.output}/study.html")
    if failed:
        print(f"failed: {', '.join(failed)} (see above)")
    return 1 if failed else 0


def _retrain(config: StudyConfig, name: str) -> None:
    folder = MemberFolder(config, next(one for one in config.members if one.name == name))
    with folder.lock():
        folder.remove()


def _absent_downstream(config: StudyConfig) -> dict[str, str]:
    """Make the datasets that can be made; those that are absent, with how to get them."""
    absent = {}
    for dataset in config.downstream:
        data = transfer_config(config, config.members[0], dataset).data
        assert data.source is not None  # check_study_config
        try:
            prepare_source(data.source, dataset.prepare)
            open_source(
                data.source,
                data.data_dir,
                image_key=data.image_key,
                label_key=data.label_key,
                multi_label=None,
                download=False,
            )
        except UserError as error:
            absent[dataset.name] = f"{error}. {dataset.obtain or ''}".strip()
            print(f"absent    {dataset.name}: {absent[dataset.name]}", flush=True)
    if len(absent) == len(config.downstream):
        raise UserError(f"no downstream dataset is there: {' '.join(absent.values())}")
    return absent


def _run_member(
    config: StudyConfig, member: Member, recipe: PretrainConfig, label: str, absent: list[str]
) -> bool:
    """Run what is missing of a member; False where it failed."""
    folder = MemberFolder(config, member)
    try:
        with folder.lock():
            if not folder.is_trained:
                print(f"\nmember    {member.name} ({label}), {member.family}", flush=True)
                if not _train(folder, recipe):
                    return False
            there = [dataset for dataset in config.downstream if dataset.name not in absent]
            succeeded = [_evaluate(config, folder, dataset) for dataset in there]
            return all(succeeded)
    except FolderHeld:
        print(f"member    {member.name} ({label}) is run by another process", flush=True)
        return True


def _train(folder: MemberFolder, recipe: PretrainConfig) -> bool:
    storage.write_text(str(folder.recipe), command_line.to_yaml(recipe))
    if not _succeeds("pipeline.pretrain", folder.recipe):
        return False
    data = recipe.data
    source = open_source(
        data.source,
        data.data_dir,
        image_key=data.image_key,
        label_key=data.label_key,
        multi_label=recipe.multi_label,
    )
    fingerprint = source.split(data.train_split).fingerprint
    folder.mark_trained({"fingerprint": fingerprint, "num_classes": source.num_classes})
    return True


def _evaluate(config: StudyConfig, folder: MemberFolder, dataset: Downstream) -> bool:
    transfer = transfer_config(config, folder.member, dataset)
    options, text = folder.transfer_options(dataset), command_line.to_yaml(transfer)
    if folder.is_evaluated(dataset):
        if yaml.safe_load(options.read_text(encoding="utf-8")) == yaml.safe_load(text):
            return True
        print(f"{folder.member.name}: the options of transfer have changed, evaluating again")
        (Path(transfer.output) / FILE_NAME).unlink()
    storage.write_text(str(options), text)
    return _succeeds("pipeline.transfer", options)


def _succeeds(module: str, options: Path) -> bool:
    """Run a command of the project; where it was told to end, so is the study."""
    status = run_module(module, ["--config", str(options)])
    if status > KILLED:
        raise SystemExit(status)
    return status == 0
